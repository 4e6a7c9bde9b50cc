"""The pixel value of white in 16-bit and float files: stated by the file, or found in its values."""

import re
import struct
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

import numpy as np

BITS = (8, 10, 12, 14, 16)  # depths of cameras that store 16-bit files
# Float values above the first number, unless they are a larger share than the second, are noise and highlights above 1.
FLOAT_HIGHEST, FLOAT_SHARE = 2.0, 0.05
QUANTILE = 0.999  # of the values; hot pixels are above it
OVERLAY = 0.05  # largest share of values equal to the highest, such as a scale bar, that the quantile leaves out
REACH = 1.5  # the highest value counts in any unit up to so many quantiles
STATED = 4.0  # a stated white may be so many times the quantile
FILLED = 0.001  # least share of a value that marks missing pixels
SAMPLED = 1 << 22  # values
DNG_WHITE_LEVEL, MAX_SAMPLE_VALUE = 50717, 281  # TIFF tags


class White(NamedTuple):
    """A pixel value, and why it is taken for white, in words; empty: as usual for the type."""

    value: float
    reason: str


def choose(colours: np.ndarray, stated: float | None = None) -> White:
    """White of an array (H, W, C) uint8, uint16 or float32 of a file that states the value `stated`, if any.

    255 for 8 bits. For 16 bits the stated value or, if it is below the values or far above them, the highest value of
    the smallest depth in BITS that holds them. For float 1 or, if more than 5 % of the values are above 2, as for 16
    bits if they are whole numbers, else the highest value. Hot pixels and scale bars do not count; they may be far
    above white.
    """
    if colours.dtype == np.uint8:
        return White(255.0, "")
    values = colours.reshape(-1)[:: max(1, colours.size // SAMPLED)]
    whole = colours.dtype.kind != "f"
    largest = float(colours.max())
    if not whole and not (values > FLOAT_HIGHEST).mean() > FLOAT_SHARE:
        return White(1.0, "the usual one of float values" if largest > FLOAT_HIGHEST else "")
    usual = _quantile(values, largest)
    if stated and usual <= stated <= STATED * usual and not (whole and stated >= np.iinfo(colours.dtype).max):
        return White(stated, "stated in the file")
    if (whole or (values == np.rint(values)).all()) and usual < 2 ** BITS[-1]:
        white = float(next(2**bits - 1 for bits in BITS if 2**bits > usual))
        return White(white, f"the usual depth for its values{'' if largest <= white else ' without outliers'}")
    if largest <= REACH * usual:
        return White(largest, "the highest value")
    return White(REACH * usual, "the highest value without outliers")


def lowest(colours: np.ndarray) -> float:
    """The lowest value; without outliers if they are further below the others than these are apart."""
    values = colours.reshape(-1)[:: max(1, colours.size // SAMPLED)]
    low, high = np.quantile(values.astype(np.float64), [1 - QUANTILE, QUANTILE]).tolist()
    least = float(colours.min())
    return least if least >= low - (high - low) else low


def fill_value(colours: np.ndarray) -> float | None:
    """A negative value that marks missing pixels in files that do not say so, such as -9999; None: there is none.

    It is the lowest, of 0.1 % of the pixels or more, and further below the others than these are apart.
    """
    least = float(colours.min())
    if least >= 0:
        return None
    others = colours[colours > least]
    if others.size > (1 - FILLED) * colours.size or not others.size:
        return None
    low, high = float(others.min()), float(others.max())
    return least if high > low and low - least > high - low else None


def _quantile(values: np.ndarray, largest: float) -> float:
    below = values[values < largest]
    kept = below if len(below) and len(below) >= (1 - OVERLAY) * len(values) else values
    return float(np.quantile(kept, QUANTILE))


def stated(stream: BinaryIO) -> float | None:
    """White as stated by a file: significant bits of PNG and OME-TIFF, the display range of ImageJ, TIFF's
    MaxSampleValue or DNG's WhiteLevel. None if there is no such statement, or it is damaged."""
    stream.seek(0)
    head = stream.read(4)
    with suppress(ValueError, TypeError, IndexError, KeyError, struct.error):
        return _of_png(stream) if head == b"\x89PNG" else _of_tiff(stream) if head[:2] in (b"II", b"MM") else None
    return None


def _of_png(stream: BinaryIO) -> float | None:
    """By the chunk sBIT, which stands before the pixels."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"sBIT":
            return 2.0 ** max(stream.read(min(length, 3))) - 1
        if kind in (b"IDAT", b"IEND"):
            break
        stream.seek(length + 4, 1)
    return None


def _of_tiff(stream: BinaryIO) -> float | None:
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        bits = re.search(r'SignificantBits="(\d{1,2})"', tiff.ome_metadata or "")
        if bits:
            return 2.0 ** int(bits[1]) - 1
        if highest := (tiff.imagej_metadata or {}).get("max"):
            return float(highest)
        tags = tiff.pages.first.tags
        given: Any = tags.valueof(DNG_WHITE_LEVEL) or tags.valueof(MAX_SAMPLE_VALUE)
        return None if not given else float(np.max(given))
