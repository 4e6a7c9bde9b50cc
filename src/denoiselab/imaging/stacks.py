"""Stacks of images in one TIFF file (pages, ImageJ, OME, MetaMorph): read and written image by image.

Every image keeps the fields of its page, so that OME-XML and ImageJ's axes stay those of the file.
"""

import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from denoiselab.imaging import decoders, encoders, exif, tiff_reader, white_level
from denoiselab.imaging.decoded import Decoded
from denoiselab.imaging.metadata import Metadata
from denoiselab.imaging.raw import RawError
from denoiselab.runtime.errors import UserError

CLASSIC = 3 << 30  # bytes of pixels; BigTIFF above: 4 GB with headers, and where Deflate makes noise longer
DESCRIPTION, RESOLUTION = 270, {282, 283, 296}
UNITS = (1, 2, 3)  # TIFF's ResolutionUnit
NESTED = {34665: "EXIF", 34853: "GPS", 40965: "EXIF"}  # directories in a page, which are not copied in stacks
IMAGEJ_CHANNELS = re.compile(rb"^channels=(\d{1,6})\s*$", re.MULTILINE)
OME_PIXELS = re.compile(rb"<(?:\w+:)?Pixels\b[^>]*>")


class Stack:
    """An open stack. `decode` raises UserError, naming the file and, in a stack, the page."""

    def __init__(self, path: Path, pages: tiff_reader.Pages, white: float | None) -> None:
        self.path, self.pages = path, pages
        self.white = white  # stated in the file
        self._axes = _axes(pages, len(pages))

    def __len__(self) -> int:
        return len(self.pages)

    def decode(self, n: int, max_pixels: int = decoders.MAX_PIXELS) -> Decoded:
        """Image `n`, upright."""
        with decoders.errors(f"{self.path}: page {n + 1}" if len(self) > 1 else str(self.path)):
            return self.pages.decode(n, max_pixels)

    def channel(self, n: int) -> int:
        """Number of the channel that image `n` belongs to; 0 if the file does not say."""
        step, channels = self._axes
        return n // step % channels


@contextmanager
def opened(path: Path) -> Iterator[Stack | None]:
    """Open a TIFF file of several images; None: another file, or a single image. UserError: damaged or unsupported."""
    with decoders.errors(str(path)):
        stream = path.open("rb")
    with stream:
        with decoders.errors(str(path)):
            found = _pages(stream)
        try:
            with decoders.errors(str(path)):
                stack = Stack(path, found, white_level.stated(stream)) if found and len(found) > 1 else None
            yield stack
        finally:
            if found:
                found.close()


def _pages(stream: BinaryIO) -> tiff_reader.Pages | None:
    """The images of a TIFF file; None: another file."""
    with suppress(RawError):
        return tiff_reader.Pages.of(stream) if decoders.is_tiff(stream) else None
    return None


def length(path: Path) -> int:
    """Number of images in a file; 1 if it is no TIFF file. UserError as `opened`."""
    with opened(path) as stack:
        return len(stack) if stack else 1


@contextmanager
def written(path: Path, stack: Stack) -> Iterator[Callable[[np.ndarray, Metadata, bool], list[str]]]:
    """Yield write(values (H, W, N), metadata, separate), which appends an image to a TIFF file like `stack`.

    It returns the names of metadata that are dropped.
    """
    import tifffile

    width, height = stack.pages.size()
    large = len(stack) * width * height * stack.pages.bytes_per_pixel > CLASSIC
    order: exif.Order = "<" if stack.pages.byte_order == "<" else ">"
    with tifffile.TiffWriter(path, bigtiff=large, byteorder=order) as writer:

        def write(values: np.ndarray, about: Metadata, separate: bool) -> list[str]:
            kept, names = encoders.fitting(about, encoders.FORMATS[".tif"])
            block = encoders.tiff_fields(kept)
            assert exif.byte_order(block) == order or not block
            fields = {tag: value for tag, value in exif.values(block).items() if tag not in exif.STRUCTURAL}
            names += [NESTED[tag] for tag in exif.tags(block) if tag in NESTED]
            tags = [
                (tag, kind, number, _without_truncation(data) if tag == DESCRIPTION else data, True)
                for tag, (kind, number, data) in fields.items()
                if tag not in RESOLUTION
            ]
            options = encoders.tiff_options(values.shape[2], values.dtype, separate)
            values = encoders.tiff_order(values, separate)
            options |= _resolution(fields, order)
            writer.write(values, extratags=tags, iccprofile=kept.icc, contiguous=False, **options)
            return list(dict.fromkeys(names))

        yield write


def _resolution(fields: dict[int, tuple[int, int, bytes]], order: str) -> dict[str, Any]:
    """tifffile's options: it writes a default beside fields of its own."""
    found = [fields[tag][2] for tag in (282, 283) if tag in fields and fields[tag][:2] == (5, 1)]
    if len(found) < 2:
        return {}
    unit = struct.unpack(f"{order}H", fields[296][2][:2])[0] if fields.get(296, (0,))[0] == 3 else 2
    ratios = tuple(struct.unpack(f"{order}2I", data) for data in found)
    valid = unit in UNITS and all(down for _, down in ratios)
    return {"resolution": ratios, "resolutionunit": unit} if valid else {}


def _without_truncation(description: bytes) -> bytes:
    """tifffile's description of a stack in one directory, for one of pages."""
    if not description.startswith(b"{") or b'"truncated"' not in description:
        return description
    with suppress(ValueError):
        said = json.loads(description.rstrip(b"\0"))
        said.pop("truncated", None)
        return json.dumps(said).encode() + b"\0"
    return description


def check(path: Path) -> None:
    """UserError if files of that suffix cannot hold a stack."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UserError(f"{path.suffix} files hold one image; write a stack to .tif")


def _axes(pages: tiff_reader.Pages, images: int) -> tuple[int, int]:
    """(number of images before the channel changes, number of channels), from the description of ImageJ or OME."""
    text = pages.description()
    if text.startswith(b"ImageJ=") and (found := IMAGEJ_CHANNELS.search(text)):
        return 1, max(1, int(found[1]))
    if (element := OME_PIXELS.search(text)) and (order := re.search(rb'DimensionOrder="XY([CZT]{3})"', element[0])):
        sizes = {axis: int(size) for axis, size in re.findall(rb'Size([CZT])="(\d{1,9})"', element[0])}
        names = [bytes([axis]) for axis in order[1]]
        if {*sizes} == {*names} and prod(sizes.values()) == images:
            return prod(sizes[name] for name in names[: names.index(b"C")]), sizes[b"C"]
    return 1, 1
