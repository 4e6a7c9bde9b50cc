"""Encode arrays to image files: the formats, what each can hold, and how it is written."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from denoiselab.imaging import exif
from denoiselab.runtime.errors import UserError

PNG = b"\x89PNG\r\n\x1a\n"  # first bytes
PNG_LEVEL = 3  # of compression: higher ones cost seconds and save little of a photo
JPEG_QUALITY = 95


class Metadata(NamedTuple):
    """What a file holds besides its values."""

    icc: bytes | None = None
    exif: bytes | None = None  # without JPEG's prefix


class Format(NamedTuple):
    """A file format: (values (H, W, N), metadata) -> bytes, and what it can hold."""

    encode: Callable[[np.ndarray, Metadata], bytes]
    dtypes: tuple[Any, ...] = (np.uint8,)
    alpha: bool = False
    metadata: bool = True


def of_suffix(suffix: str) -> Format:
    """The format of a suffix, in any case. UserError lists the supported ones."""
    found = FORMATS.get(suffix.lower())
    if found is None:
        raise UserError(f"cannot write {suffix or 'files without suffix'}; choose from: {', '.join(FORMATS)}")
    return found


def _png(values: np.ndarray, metadata: Metadata) -> bytes:
    return (
        _png16(values, metadata)
        if values.dtype == np.uint16
        else _by_pillow(values, metadata, "PNG", compress_level=PNG_LEVEL)
    )


def _jpeg(values: np.ndarray, metadata: Metadata) -> bytes:
    return _by_pillow(values, metadata, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _webp(values: np.ndarray, metadata: Metadata) -> bytes:
    return _by_pillow(values, metadata, "WEBP", lossless=True, exact=True)


def _bmp(values: np.ndarray, metadata: Metadata) -> bytes:
    return _by_pillow(values, metadata, "BMP")


def _by_pillow(values: np.ndarray, metadata: Metadata, form: str, **options: Any) -> bytes:
    """Encode uint8."""
    if metadata.exif:
        options["exif"] = exif.PREFIX + metadata.exif
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    stream = BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(stream, form, **options)
    return stream.getvalue()


def _png16(values: np.ndarray, metadata: Metadata) -> bytes:
    """Encode uint16: Pillow cannot in colour, OpenCV cannot with a profile. W3C: PNG, third edition."""
    height, width, planes = values.shape
    rows = np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 1  # filter Sub: each byte less that of the pixel before
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * planes :] -= rows[:, : -2 * planes]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[planes]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), PNG_LEVEL)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return PNG + b"".join(parts)


def _tiff(values: np.ndarray, metadata: Metadata) -> bytes:
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
        iccprofile=metadata.icc,
        metadata=None,
        software=False,
        byteorder=exif.byte_order(metadata.exif or b""),
    )
    return exif.into_tiff(stream.getvalue(), metadata.exif) if metadata.exif else stream.getvalue()


_PNG = Format(_png, (np.uint8, np.uint16), alpha=True)
_TIFF = Format(_tiff, (np.uint8, np.uint16, np.float32), alpha=True)
FORMATS = {  # by suffix; decoders reads the same ones
    ".png": _PNG,
    ".jpg": Format(_jpeg),
    ".jpeg": Format(_jpeg),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format(_bmp, metadata=False),
    ".webp": Format(_webp, alpha=True),
}
