"""Decode image files to upright arrays: PNG, JPEG, WebP, BMP and TIFF, at their own depth (8 bits, 16 bits or float).

Both readers, dataset_images and photos, are thin layers on this module and share its checks.
"""

import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from denoiselab.imaging import encoders, exif
from denoiselab.runtime.errors import UnsupportedError, UserError
from denoiselab.runtime.sanitize import one_line

MAX_PIXELS = 178_956_970  # Pillow warns of a decompression bomb above it, and refuses twice as many
PILLOW = ("PNG", "JPEG", "WEBP", "BMP")  # decoded by Pillow, which would run programs for others, such as PostScript
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes; decoded by tifffile
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = GRAY_OR_RGB = 0, 1, 2  # TIFF's PhotometricInterpretation
SEPARATE = 2  # TIFF's PlanarConfiguration: plane by plane
DEFLATE = (8, 32946)  # TIFF's Compression
LZMA, ZSTD = 34925, 50000
XMP = 700  # TIFF tag
LARGEST_TILE = 1 << 26  # values
MOST_SAMPLES = 5  # per pixel: CMYK and transparency
TIFF_DTYPES = (bool, np.uint8, np.uint16, np.float16, np.float32, np.float64)
EXTRA_SAMPLES = {  # TIFF's ExtraSamples other than plain transparency; dropped where they are opaque, else refused
    0: "has a channel besides its colours that is not transparency; save the image without it",
    1: "has colours premultiplied by transparency; save it with plain transparency",
}
REASONS: dict[type[Exception], str] = {
    UnidentifiedImageError: f"not an image that can be read ({', '.join(s[1:] for s in encoders.FORMATS)})",
    FileNotFoundError: "there is no such file",
    IsADirectoryError: "is a folder",
    PermissionError: "permission denied",
    MemoryError: "too large for this machine's memory",
}
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `max_pixels` is the limit


class Decoded(NamedTuple):
    """A decoded file, upright."""

    values: np.ndarray  # (H, W, N) uint8, uint16 or float32; N 1 to 4: gray, gray and alpha, RGB, RGBA
    icc: bytes | None
    exif: bytes | None  # without JPEG's prefix, orientation reset

    @property
    def colours(self) -> np.ndarray:
        """(H, W, 1) or (H, W, 3)."""
        return self.values[:, :, : 1 if self.values.shape[2] <= 2 else 3]

    @property
    def alpha(self) -> np.ndarray | None:
        """(H, W)."""
        return self.values[:, :, -1] if self.values.shape[2] in (2, 4) else None


@contextmanager
def opened(source: Path | bytes, name: str = "") -> Iterator[BinaryIO]:
    """Open a file, or its bytes, for `decode` or `size`. Every error inside becomes a UserError "name: reason"."""
    try:
        with source.open("rb") if isinstance(source, Path) else BytesIO(source) as stream:
            yield stream
            return
    except UnsupportedError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - decoders raise anything for damaged files
        known = (text for kind, text in REASONS.items() if isinstance(error, kind))
        reason = next(known, f"damaged image: {one_line(error)}")
    raise UserError(f"{name or (source if isinstance(source, Path) else 'the image')}: {reason}")


def decode(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a file. UnsupportedError: its kind is not supported, or its header states more than `max_pixels`.

    Any other exception means that the file is damaged.
    """
    head = _head(stream)
    decoded = _decode_tiff(stream, max_pixels) if head[:4] in TIFF else _decode_by_pillow(stream, head, max_pixels)
    if not decoded.values.size:
        raise UnsupportedError("has no pixels")
    return decoded


def size(stream: BinaryIO, max_pixels: int) -> int:
    """Number of pixels stated by the header; refused only where Pillow refuses it, naming `max_pixels`."""
    if _head(stream)[:4] in TIFF:
        import tifffile

        with tifffile.TiffFile(stream) as tiff:
            return prod(_size(_page(tiff)))
    with _open_by_pillow(stream, max_pixels) as image:
        return image.width * image.height


def _head(stream: BinaryIO) -> bytes:
    """The first 26 bytes: the signature and, in PNG, depth (24) and colour type (25)."""
    head = stream.read(26)
    stream.seek(0)
    if not head:
        raise UnsupportedError("the file is empty")
    return head


def _open_by_pillow(stream: BinaryIO, max_pixels: int) -> Image.Image:
    try:
        return Image.open(stream, formats=PILLOW)
    except Image.DecompressionBombError:
        raise UnsupportedError(f"too many pixels to be safe to decode; {_limit(max_pixels)}") from None


def _decode_by_pillow(stream: BinaryIO, head: bytes, max_pixels: int) -> Decoded:
    with _open_by_pillow(stream, max_pixels) as image:
        _check_size(image.size, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # a phone's JPEG, its depth map or preview behind the photo
            raise UnsupportedError(f"has {frames} frames; only single images are read")
        image.load()
        deep = head.startswith(encoders.PNG) and head[24] == 16
        values = _deep_png(image, stream, gray=head[25] in (0, 4)) if deep else _values(image)
        block = exif.strip_prefix(_exif_block(image))
        turned = UPRIGHT[exif.orientation(block, _info(image, "xmp"))](values)
        icc = _info(image, "icc_profile") or None
        return Decoded(np.ascontiguousarray(turned), icc, exif.reset_orientation(block) or None)


def _exif_block(image: Image.Image) -> bytes:
    """The EXIF block, or the hexadecimal text that ImageMagick writes into PNG; empty where there is none."""
    if block := _info(image, "exif"):
        return block
    with suppress(ValueError):
        return bytes.fromhex("".join(str(image.info.get("Raw profile type exif", "")).split("\n")[3:]))
    return b""


def _info(image: Image.Image, key: str) -> bytes:
    """Pillow's metadata of that name, unless it is one of PNG's texts."""
    value = image.info.get(key)
    return value if isinstance(value, bytes) else b""


def _values(image: Image.Image) -> np.ndarray:
    """(H, W, N) uint8, or (H, W, 1) uint16, of a loaded image."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode in ("1", "L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I;16", "I;16B"):
        raise UnsupportedError(f"colour mode {image.mode} is not supported; convert to gray or RGB")
    values = np.asarray(image)
    values = values if image.mode[0] != "I" else values.astype(np.uint16, copy=False)
    return values if values.ndim == 3 else values[:, :, None]


def _deep_png(image: Image.Image, stream: BinaryIO, *, gray: bool) -> np.ndarray:
    """(H, W, N) uint16 of a loaded PNG: by OpenCV, unless it is plain gray, as Pillow reduces others to 8 bits."""
    if image.mode == "I;16" and "transparency" not in image.info:
        return _values(image)
    values = _by_opencv(stream, np.uint16)
    return values[:, :, [0, 3]] if gray and values.shape[2] == 4 else values


def _by_opencv(stream: BinaryIO, dtype: Any) -> np.ndarray:
    """(H, W, N) of that type, RGB."""
    import cv2

    stream.seek(0)
    values = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != dtype:
        raise UserError("its pixels cannot be decoded")
    values = values if values.ndim == 3 else values[:, :, None]
    return values if values.shape[2] < 3 else values[:, :, [2, 1, 0, 3][: values.shape[2]]]


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnsupportedError(f"{width}x{height} pixels are too many; {_limit(max_pixels)}")


def _limit(max_pixels: int) -> str:
    return f"the limit is {max_pixels / 1e6:.3g} megapixels"


def _decode_tiff(stream: BinaryIO, max_pixels: int) -> Decoded:
    import tifffile

    with tifffile.TiffFile(stream) as tiff:
        page = _page(tiff)
        _check_size(_size(page), max_pixels)
        _check_tiff(page)
        _check_segments(page, stream)
        values = _without_opaque(_tiff_values(page, stream), page)
        icc = bytes(page.iccprofile) if page.iccprofile else None
        stream.seek(0)
        return Decoded(values, icc, exif.from_tiff(stream.read()) or None)


def _page(tiff: Any) -> Any:
    """The only page that is not a thumbnail."""
    if not len(tiff.pages):
        raise UserError("there is no image in it")
    pages = [page for page in tiff.pages if not page.is_reduced]
    if not pages:
        raise UnsupportedError("has only a thumbnail, like camera raw files; develop it to TIFF or PNG first")
    if len(pages) != 1:
        raise UnsupportedError(f"has {len(pages)} pages; only single images are read")
    return pages[0]


def _size(page: Any) -> tuple[int, int]:
    """Width and height stated by the header."""
    width, height = page.imagewidth, page.imagelength
    if not (isinstance(width, int) and isinstance(height, int)):  # tifffile returns several values as they are
        raise UserError("its width and height are not numbers")
    return width, height


def _check_tiff(page: Any) -> None:
    """Refuse what the header shows to be unsupported."""
    if page.dtype not in TIFF_DTYPES:
        raise UnsupportedError(f"{page.dtype} pixels are not supported; convert to 8 or 16 bits or float")
    if page.samplesperpixel > MOST_SAMPLES or page.imagedepth > 1:
        raise UnsupportedError(f"pixels of shape {page.shape} are not supported; only gray or RGB, with transparency")


def _check_segments(page: Any, stream: BinaryIO) -> None:
    """Refuse huge tiles, Deflate data longer than the header states, which tifffile would inflate in full, and missing
    data, which it would fill with zeros."""
    if page.compression == LZMA:
        raise UnsupportedError("LZMA compression is not supported; save it with Deflate, LZW or none")
    if page.is_tiled and prod(page.chunks) > LARGEST_TILE:
        raise UnsupportedError(f"tiles of {page.tilewidth}x{page.tilelength} pixels are too large")
    most = prod(page.chunks) * page.dtype.itemsize
    for at, count in zip(page.dataoffsets, page.databytecounts, strict=False) if page.compression in DEFLATE else []:
        stream.seek(at)
        if len(zlib.decompressobj().decompress(stream.read(count), most + 1)) > most:
            raise UnsupportedError("holds more pixels than its header says")
    if len(page.databytecounts) < prod(page.chunked) or 0 in page.databytecounts:
        raise UserError("the data of some pixels are missing")


def _tiff_values(page: Any, stream: BinaryIO) -> np.ndarray:
    """(H, W, N) uint8, uint16 or float32, upright."""
    if page.photometric not in GRAY_OR_RGB or page.bitspersample < 8 or page.compression == ZSTD:
        return _tiff_by_others(page, stream)
    try:
        values = _tiff_by_tifffile(page)
    except (ImportError, NotImplementedError, ValueError) as error:
        if not (isinstance(error, ImportError) or "imagecodecs" in str(error)):
            raise
        return _tiff_by_others(page, stream)
    return np.ascontiguousarray(UPRIGHT[_tiff_orientation(page)](values))


def _tiff_orientation(page: Any) -> int:
    tag, xmp = page.tags.get(exif.ORIENTATION), page.tags.get(XMP)
    if tag:
        return int(tag.value) if tag.value in UPRIGHT else 1
    return exif.orientation(b"", xmp.value if xmp and isinstance(xmp.value, bytes) else b"")


def _tiff_by_tifffile(page: Any) -> np.ndarray:
    """(H, W, N) uint8, uint16 or float32, not turned."""
    values = page.asarray()
    if page.planarconfig == SEPARATE and values.ndim == 3:
        values = np.moveaxis(values, 0, 2)
    values = values if values.ndim == 3 else values[:, :, None]
    colours = 3 if page.photometric == RGB else 1
    if values.ndim != 3 or values.shape[2] not in (colours, colours + 1):
        raise UnsupportedError(f"pixels of shape {values.shape} are not supported; only gray or RGB, with transparency")
    if page.photometric == WHITE_IS_ZERO:
        if values.dtype.kind == "f" or values.shape[2] == 2:
            raise UnsupportedError("inverted gray with float values or transparency is not supported")
        values = np.iinfo(values.dtype).max - values
    return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values


def _tiff_by_others(page: Any, stream: BinaryIO) -> np.ndarray:
    """(H, W, N), upright, of what tifffile cannot decode: palettes, odd depths, LZW without imagecodecs;
    and of Zstandard, which it would inflate without a limit.

    Pillow decodes 8 bits, 16-bit gray and other colour models, OpenCV the rest. Both apply the orientation themselves.
    """
    if page.index != 0:
        raise UnsupportedError("has a thumbnail before the image in this compression; save it without thumbnail")
    if page.photometric not in GRAY_OR_RGB or page.dtype in (bool, np.uint8):
        return _tiff_by_pillow(stream)
    if page.photometric == WHITE_IS_ZERO:
        raise UnsupportedError("inverted gray in this compression is not supported; save it uncompressed")
    if page.dtype == np.uint16 and page.bitspersample == 16 and page.samplesperpixel == 1:
        return _tiff_by_pillow(stream)
    return _by_opencv(stream, page.dtype)


def _tiff_by_pillow(stream: BinaryIO) -> np.ndarray:
    stream.seek(0)
    with Image.open(stream, formats=["TIFF"]) as image:
        image.load()
        return _values(image)


def _without_opaque(values: np.ndarray, page: Any) -> np.ndarray:
    """Drop a premultiplied or unspecified channel that is opaque everywhere; refuse it otherwise."""
    reasons = [EXTRA_SAMPLES[kind] for kind in page.extrasamples if kind in EXTRA_SAMPLES]
    if not reasons:
        return values
    opaque = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    if values.shape[2] not in (2, 4) or (values[:, :, -1] != opaque).any():
        raise UnsupportedError(reasons[0])
    return np.ascontiguousarray(values[:, :, :-1])
