"""Encode pictures as people have them: what each kind of file can hold, and how it is written."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from denoiselab.imaging import exif
from denoiselab.imaging.decoders import PNG
from denoiselab.runtime.errors import UserError

JPEG_QUALITY = 95
PNG_LEVEL = 3  # of compression: higher ones cost seconds and save little of a photograph


class About(NamedTuple):
    """What goes into a file beside the values."""

    icc: bytes | None
    exif: bytes | None  # a bare block


class Format(NamedTuple):
    """A kind of file: (values (H, W, N), about) -> bytes, and what it can hold."""

    encode: Callable[[np.ndarray, About], bytes]
    dtypes: tuple[Any, ...] = (np.uint8,)
    alpha: bool = False
    about: bool = True  # profile and EXIF


def of_suffix(suffix: str) -> Format:
    """ValueError lists the suffixes there are."""
    found = FORMATS.get(suffix.lower())
    if found is None:
        raise UserError(
            f"{suffix or 'no suffix'} is no kind of picture that can be written; there: {', '.join(FORMATS)}"
        )
    return found


def _png(values: np.ndarray, about: About) -> bytes:
    return (
        _png16(values, about)
        if values.dtype == np.uint16
        else _by_pillow(values, about, "PNG", compress_level=PNG_LEVEL)
    )


def _jpeg(values: np.ndarray, about: About) -> bytes:
    return _by_pillow(values, about, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _webp(values: np.ndarray, about: About) -> bytes:
    return _by_pillow(values, about, "WEBP", lossless=True, exact=True)


def _bmp(values: np.ndarray, about: About) -> bytes:
    return _by_pillow(values, about, "BMP")


def _by_pillow(values: np.ndarray, about: About, form: str, **options: Any) -> bytes:
    """8 bits."""
    if about.exif:
        options["exif"] = exif.PREFIX + about.exif
    if about.icc:
        options["icc_profile"] = about.icc
    stream = BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(stream, form, **options)
    return stream.getvalue()


def _png16(values: np.ndarray, about: About) -> bytes:
    """A PNG of 16 bits, which Pillow cannot write in colour, nor OpenCV with a profile. W3C: PNG, third edition."""
    height, width, planes = values.shape
    rows = np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 1  # filter Sub: each byte less that of the pixel before
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * planes :] -= rows[:, : -2 * planes]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[planes]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if about.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(about.icc)))
    if about.exif:
        chunks.append((b"eXIf", about.exif))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), PNG_LEVEL)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return PNG + b"".join(parts)


def _tiff(values: np.ndarray, about: About) -> bytes:
    import tifffile

    stream = BytesIO()
    tifffile.imwrite(
        stream,
        values if values.shape[2] > 1 else values[:, :, 0],
        photometric="rgb" if values.shape[2] > 2 else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if values.shape[2] in (2, 4) else None,
        compression="zlib",
        predictor=values.dtype.kind == "u",
        iccprofile=about.icc,
        metadata=None,
        software=False,
        byteorder=exif.byte_order(about.exif or b""),
    )
    return exif.into_tiff(stream.getvalue(), about.exif) if about.exif else stream.getvalue()


_16_BITS = Format(_png, (np.uint8, np.uint16), alpha=True)
_FLOAT = Format(_tiff, (np.uint8, np.uint16, np.float32), alpha=True)
FORMATS = {
    ".png": _16_BITS,
    ".jpg": Format(_jpeg),
    ".jpeg": Format(_jpeg),
    ".tif": _FLOAT,
    ".tiff": _FLOAT,
    ".bmp": Format(_bmp, about=False),
    ".webp": Format(_webp, alpha=True),
}
