"""Encode arrays to image files: the formats, what each can hold, and how it is written."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from denoiselab.imaging import exif, metadata
from denoiselab.imaging.metadata import PNG, Metadata, png_chunk
from denoiselab.runtime.errors import UserError

PNG_LEVEL = 3  # of compression: higher ones cost seconds and save little of a photo
JPEG_QUALITY = 95
AVIF_QUALITY = 90
SEGMENT = 65533  # bytes of a JPEG segment
BACKGROUND = {1: 2, 2: 2, 3: 6, 4: 6}  # bytes of PNG's bKGD by channels
RESOLUTION = (282, 283)  # tags of EXIF and TIFF, horizontal and vertical
SIGNIFICANT = {1: 1, 2: 2, 3: 3, 4: 4}  # of sBIT


class Format(NamedTuple):
    """A file format: (values (H, W, N), metadata) -> bytes, and what it can hold."""

    encode: Callable[..., bytes]
    dtypes: tuple[Any, ...] = (np.uint8,)
    alpha: bool = False
    holds: frozenset[str] = frozenset()  # kinds of metadata, fields of Metadata
    most: int = 1 << 32  # bytes of EXIF, XMP or a comment
    separate: bool = False  # any number of channels that do not belong together
    densities: tuple[float, float] = (0.013, 5e7)  # lowest and highest in pixels per inch; here by 31 bits per metre


def of_suffix(suffix: str) -> Format:
    """The format of a suffix, in any case. UserError lists the supported ones."""
    found = FORMATS.get(suffix.lower())
    if found is None:
        raise UserError(f"cannot write {suffix or 'files without suffix'}; choose from: {', '.join(FORMATS)}")
    return found


def fitting(about: Metadata, form: Format) -> tuple[Metadata, list[str]]:
    """The metadata that a format holds, and the names of those that are dropped."""
    long = {kind for kind in ("exif", "xmp", "comment") if len(getattr(about, kind) or b"") > form.most}
    low, high = form.densities
    if about.density and not low <= min(about.density) <= max(about.density) <= high:
        if "exif" in form.holds - long and {*RESOLUTION} <= {*exif.tags(about.exif or b"")}:
            about = replace(about, density=None)  # EXIF keeps it
        long.add("density")
    holds = form.holds - long
    empty = Metadata()
    kept = {kind: getattr(about if kind in holds else empty, kind) for kind in metadata.KINDS}
    return Metadata(**kept), metadata.dropped(about, holds)


def _png(values: np.ndarray, about: Metadata) -> bytes:
    content = _png16(values) if values.dtype == np.uint16 else _by_pillow(values, "PNG", compress_level=PNG_LEVEL)
    end_of_header = len(PNG) + 25
    chunks = b"".join(png_chunk(*chunk) for chunk in _chunks(about, values.shape[2]))
    return content[:end_of_header] + chunks + content[end_of_header:]


def _chunks(about: Metadata, planes: int) -> list[tuple[bytes, bytes]]:
    """Metadata as chunks of PNG."""
    kept = [c for c in about.chunks if c[0] != b"bKGD" or len(c[1]) == BACKGROUND[planes]]
    chunks = [c for c in kept if c[0] != b"sBIT" or len(c[1]) == SIGNIFICANT[planes]]
    if about.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(about.icc)))
    if about.density:
        x, y = (round(dots / metadata.INCH_M) for dots in about.density)
        chunks.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if about.exif:
        chunks.append((b"eXIf", about.exif))
    if about.xmp:
        chunks.append((b"iTXt", metadata.XMP_KEYWORD + bytes(5) + about.xmp))
    if about.photoshop:
        digits = about.photoshop.hex().encode()
        lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        profile = b"\niptc\n%8d\n%s\n" % (len(about.photoshop), lines)
        chunks.append((b"zTXt", metadata.RAW_PROFILE + b"iptc\0\0" + zlib.compress(profile)))
    if about.comment:
        text = about.comment.rstrip(b"\0").replace(b"\0", b" ")
        chunks.append((b"tEXt", b"Comment\0" + text) if text.isascii() else (b"iTXt", b"Comment" + bytes(5) + text))
    return chunks


def _jpeg(values: np.ndarray, about: Metadata) -> bytes:
    options: dict[str, Any] = {"comment": about.comment} if about.comment else {}
    if about.density:
        options["dpi"] = tuple(round(dots) for dots in about.density)
    extra = [("APP13", metadata.PHOTOSHOP + part) for part in _parts(about.photoshop or b"")] + [*about.segments]
    options["extra"] = b"".join(
        struct.pack(">BBH", 0xFF, 0xE0 + int(name.removeprefix("APP")), len(data) + 2) + data for name, data in extra
    )
    options |= {"xmp": about.xmp} if about.xmp else {}
    return _by_pillow(values, "JPEG", about, quality=JPEG_QUALITY, subsampling=0, **options)


def _parts(content: bytes) -> list[bytes]:
    size = SEGMENT - len(metadata.PHOTOSHOP)
    return [content[at : at + size] for at in range(0, len(content), size)]


def _webp(values: np.ndarray, about: Metadata) -> bytes:
    return _by_pillow(values, "WEBP", about, lossless=True, exact=True, xmp=about.xmp or b"")


def _avif(values: np.ndarray, about: Metadata) -> bytes:
    return _by_pillow(values, "AVIF", about, quality=AVIF_QUALITY, subsampling="4:4:4", xmp=about.xmp or b"")


def _bmp(values: np.ndarray, about: Metadata) -> bytes:
    options: dict[str, Any] = {"dpi": about.density} if about.density else {}
    return _by_pillow(values, "BMP", **options)


def _by_pillow(values: np.ndarray, form: str, about: Metadata | None = None, **options: Any) -> bytes:
    """Encode uint8, with `about`'s colour profile and EXIF."""
    if about and about.exif:
        options["exif"] = exif.PREFIX + about.exif
    if about and about.icc:
        options["icc_profile"] = about.icc
    stream = BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(stream, form, **options)
    return stream.getvalue()


def _png16(values: np.ndarray) -> bytes:
    """Encode uint16: Pillow cannot in colour. W3C: PNG, third edition."""
    height, width, planes = values.shape
    rows = np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 1  # filter Sub: each byte less that of the pixel before
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * planes :] -= rows[:, : -2 * planes]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[planes]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), PNG_LEVEL)), (b"IEND", b"")]
    return PNG + b"".join(png_chunk(*chunk) for chunk in chunks)


def _tiff(values: np.ndarray, about: Metadata, separate: bool = False) -> bytes:
    import tifffile

    block, stream = tiff_fields(about), BytesIO()
    options = tiff_options(values.shape[2], values.dtype, separate)
    tifffile.imwrite(
        stream, tiff_order(values, separate), byteorder=exif.byte_order(block), iccprofile=about.icc, **options
    )
    return exif.into_tiff(stream.getvalue(), block) if block else stream.getvalue()


def tiff_order(values: np.ndarray, separate: bool) -> np.ndarray:
    """(H, W, N) as tifffile takes it."""
    if separate:
        return np.ascontiguousarray(np.moveaxis(values, 2, 0))
    return values if values.shape[2] > 1 else values[:, :, 0]


def tiff_options(planes: int, dtype: np.dtype, separate: bool) -> dict[str, Any]:
    """tifffile's options for an image of N channels."""
    return {
        "photometric": "rgb" if planes > 2 and not separate else "minisblack",
        "planarconfig": "separate" if separate else "contig" if planes > 1 else None,
        "extrasamples": ["unassalpha"] if planes in (2, 4) and not separate else None,
        "compression": "zlib",
        "predictor": dtype.kind == "u" and dtype.itemsize < 4,
        "metadata": None,
        "software": False,
    }


def tiff_fields(about: Metadata) -> bytes:
    """A block of all fields of a TIFF file but the colour profile."""
    block = exif.merged(about.exif or b"", about.tags or b"")
    order, held = exif.byte_order(block), {*exif.tags(block)}
    new: dict[int, tuple[int, int, bytes]] = {}
    if about.xmp:
        new[exif.XMP] = (1, len(about.xmp), about.xmp)
    if about.photoshop and exif.IPTC not in held:
        new[exif.PHOTOSHOP] = (1, len(about.photoshop), about.photoshop)
        for number, content, _ in metadata.resources(about.photoshop):
            if number == metadata.IPTC and content:
                new[exif.IPTC] = (7, len(content), content)
    if about.density and RESOLUTION[0] not in held:
        for tag, dots in zip(RESOLUTION, about.density, strict=True):
            unit = 10000 if dots < 1e5 else 1
            new[tag] = (5, 1, struct.pack(f"{order}2I", round(dots * unit), unit))
        new[296] = (3, 1, struct.pack(f"{order}H", 2))
    if about.comment and 270 not in held:
        new[270] = (2, len(about.comment) + 1, about.comment + b"\0")
    return exif.with_values(block, new)


_COMMON = frozenset({"icc", "exif", "xmp"})
_PNG = Format(_png, (np.uint8, np.uint16), alpha=True, holds=_COMMON | {"photoshop", "density", "comment", "chunks"})
_JPEG = Format(
    _jpeg, holds=_COMMON | {"photoshop", "density", "comment", "segments"}, most=SEGMENT - 35, densities=(0.5, 65535)
)
_TIFF = Format(
    _tiff,
    (*(np.uint8, np.uint16, np.uint32, np.int8, np.int16, np.int32, np.float16, np.float32, np.float64),),
    alpha=True,
    separate=True,
    holds=_COMMON | {"photoshop", "density", "comment", "tags"},
    densities=(0.0001, 4e9),
)
FORMATS = {  # by suffix; decoders reads the same ones and more
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format(_bmp, holds=frozenset({"density"})),
    ".webp": Format(_webp, alpha=True, holds=_COMMON),
    ".jfif": _JPEG,
    ".avif": Format(_avif, alpha=True, holds=_COMMON),
}
