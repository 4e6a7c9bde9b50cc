"""Pictures of users between files and arrays, at the depth they have: 8 bits, 16 bits or float, with transparency,
colour profile and EXIF. (denoiselab.images reads those of the pipeline, as uint8.)
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from denoiselab import exif, files

MAX_PIXELS = 178_956_970  # of which Pillow says that more may be a decompression bomb
JPEG_QUALITY = 95
PNG_LEVEL = 3  # of compression: higher ones cost seconds and save little of a photograph
PILLOW = ("PNG", "JPEG", "WEBP", "BMP")  # read by it; TIFF by tifffile
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = GRAY_OR_RGB = 0, 1, 2  # of TIFF's PhotometricInterpretation
SEPARATE = 2  # of TIFF's PlanarConfiguration: plane by plane
PREMULTIPLIED = 1  # of TIFF's ExtraSamples
PNG = b"\x89PNG\r\n\x1a\n"
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF's orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `max_pixels` decides


@dataclass(frozen=True)
class Photo:
    """A picture, upright, and what goes back into a file with it."""

    pixels: np.ndarray  # (H, W, C) float32, C 1 or 3; 0 is black and 1 is `white` in the file
    alpha: np.ndarray | None  # (H, W) as in the file
    dtype: np.dtype  # of the file: uint8, uint16 or float32
    white: float  # in the file's own units
    icc: bytes | None
    exif: bytes | None  # without JPEG's prefix, its orientation reset


class _UnsupportedError(ValueError):
    """A whole picture that is not read; other errors of decoders mean damage."""


class _Decoded(NamedTuple):
    """What a decoder gives."""

    values: np.ndarray  # (H, W, N), N 1 to 4: gray, gray and alpha, RGB, RGBA
    icc: bytes | None
    exif: bytes | None
    orientation: int


def read(source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS, white: float | None = None) -> Photo:
    """Decode a file, or its bytes, which messages call `name`.

    `white` is the file's value that becomes 1.0; None: 255 of 8 bits, 65535 of 16, of float 1 or the highest value
    if that is above. ValueError names the file and the reason: missing, unreadable, damaged, of more than
    `max_pixels` (which its header tells, before it is decoded), of several pages, CMYK.
    """
    with _opened(source, name, max_pixels) as stream:
        return _photo(_decode(stream, max_pixels), white)


def size(source: Path | bytes, *, name: str = "") -> int:
    """Number of pixels, from the header. ValueError as `read`."""
    with _opened(source, name, MAX_PIXELS) as stream:
        return _size(stream)


@contextmanager
def _opened(source: Path | bytes, name: str, max_pixels: int) -> Iterator[BinaryIO]:
    """The file. What goes wrong with it comes out as a ValueError with its name and the reason."""
    named = name or (str(source) if isinstance(source, Path) else "the picture")
    try:
        with source.open("rb") if isinstance(source, Path) else BytesIO(source) as stream:
            yield stream
            return
    except UnidentifiedImageError:
        reason = f"not an image that can be read ({', '.join(s[1:] for s in SUFFIXES)})"
    except FileNotFoundError:
        reason = "there is no such file"
    except IsADirectoryError:
        reason = "is a folder"
    except PermissionError:
        reason = "may not be read: permission denied"
    except Image.DecompressionBombError:
        reason = f"too many pixels to be safe to decode; at most {max_pixels} are allowed"
    except MemoryError:
        reason = "too large for this machine's memory"
    except _UnsupportedError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - of a damaged file a decoder may raise anything
        reason = f"damaged image: {_line(error)}"
    raise ValueError(f"{named}: {reason}")


def encode(photo: Photo, pixels: np.ndarray, suffix: str) -> bytes:
    """The file of `pixels`, (H, W, C) as those of `photo`, with the photo's depth, transparency, profile and EXIF.

    Integers are clamped and rounded, float values stay as they are. ValueError where that kind of file cannot hold
    them, values are not finite, or the shape is another one.
    """
    if pixels.shape != photo.pixels.shape:
        raise ValueError(f"pixels of shape {pixels.shape} are not those of a picture of {photo.pixels.shape}")
    if not np.isfinite(pixels).all():
        raise ValueError("the picture has values that are not finite")
    check(photo, suffix)
    colours = _as_in_file(photo, pixels)
    values = colours if photo.alpha is None else np.concatenate([colours, photo.alpha[:, :, None]], axis=2)
    return _format(suffix).encode(photo, values)


def check(photo: Photo, suffix: str) -> None:
    """ValueError where files of that suffix cannot hold a picture of the photo's kind."""
    form = _format(suffix)
    if photo.dtype not in form.dtypes:
        kind = "float" if photo.dtype.kind == "f" else f"{8 * photo.dtype.itemsize}-bit"
        raise ValueError(f"{suffix} files cannot hold a {kind} picture; write {_able(photo)}")
    if photo.alpha is not None and not form.alpha:
        raise ValueError(f"{suffix} files cannot hold transparency; write {_able(photo)}")
    if (photo.icc or photo.exif) and not form.metadata:
        raise ValueError(f"{suffix} files cannot hold a colour profile or EXIF; write {_able(photo)}")


def write(path: Path, photo: Photo, pixels: np.ndarray) -> None:
    """`encode` into a file that is either whole or not there. ValueError also names the file."""
    try:
        content = encode(photo, pixels, path.suffix)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def _photo(decoded: _Decoded, white: float | None) -> Photo:
    values = np.ascontiguousarray(UPRIGHT[decoded.orientation](decoded.values))
    if not values.size:
        raise _UnsupportedError("has no pixels")
    colours = values[:, :, : 1 if values.shape[2] <= 2 else 3]
    if white is None:
        white = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else max(1.0, float(colours.max()))
    if not np.isfinite(white) or (values.dtype.kind == "f" and not np.isfinite(colours).all()):
        raise _UnsupportedError("has values that are not finite")
    pixels = colours.astype(np.float32)
    pixels /= np.float32(white)
    alpha = values[:, :, -1].copy() if values.shape[2] in (2, 4) else None
    return Photo(pixels, alpha, values.dtype, white, decoded.icc, decoded.exif)


def _as_in_file(photo: Photo, pixels: np.ndarray) -> np.ndarray:
    """In the file's own type and units."""
    scaled = pixels * np.float32(photo.white)
    if photo.dtype.kind == "f":
        return scaled.astype(photo.dtype, copy=False)
    np.clip(scaled, 0, np.iinfo(photo.dtype).max, out=scaled)
    return np.rint(scaled, out=scaled).astype(photo.dtype)


def _decode(stream: BinaryIO, max_pixels: int) -> _Decoded:
    head = stream.read(26)
    stream.seek(0)
    if not head:
        raise _UnsupportedError("the file is empty")
    if head[:4] in TIFF:
        return _decode_tiff(stream, max_pixels)
    with Image.open(stream, formats=PILLOW) as image:
        _check_size(image.size, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # a phone's JPEG with, say, a depth map behind the picture
            raise _UnsupportedError(f"has {frames} frames; only single pictures are read")
        deep = head[:8] == PNG and head[24] == 16
        image.load()
        block = exif.bare(image.info.get("exif") or b"")
        icc = image.info.get("icc_profile") or None
        values = _by_opencv(stream, np.uint16, gray=head[25] == 4) if deep else _values8(image)
    return _Decoded(values, icc, exif.upright(block) or None, exif.orientation(block))


def _size(stream: BinaryIO) -> int:
    if stream.read(4) in TIFF:
        import tifffile

        stream.seek(0)
        with tifffile.TiffFile(stream) as tiff:
            page = cast(Any, tiff.pages.first)
            return page.imagewidth * page.imagelength
    stream.seek(0)
    with Image.open(stream, formats=PILLOW) as image:
        return image.width * image.height


def _values8(image: Image.Image) -> np.ndarray:
    """(H, W, N) uint8."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode in ("1", "L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise _UnsupportedError(f"colour mode {image.mode} is not supported; convert to gray or RGB")
    values = np.asarray(image)
    return values if values.ndim == 3 else values[:, :, None]


def _decode_tiff(stream: BinaryIO, max_pixels: int) -> _Decoded:
    """What tifffile cannot decompress (LZW) goes to Pillow and OpenCV, which turn it upright by themselves."""
    import tifffile

    with tifffile.TiffFile(stream) as tiff:
        pages = cast(list[Any], [page for page in tiff.pages if not cast(Any, page).is_reduced])  # as a thumbnail is
        if len(pages) != 1:
            raise _UnsupportedError(f"has {len(pages)} pages; only single pictures are read")
        page = pages[0]
        _check_size((page.imagewidth, page.imagelength), max_pixels)
        icc = bytes(page.iccprofile) if page.iccprofile else None
        _check_tiff(page)
        if page.photometric not in GRAY_OR_RGB or page.dtype == bool:
            return _Decoded(_tiff_by_pillow(stream), icc, None, 1)
        try:
            values = _tiff_values(page)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            values = _tiff_by_pillow(stream) if page.dtype == np.uint8 else _tiff_by_opencv(stream, page)
            return _Decoded(values, icc, None, 1)
        tag = page.tags.get(exif.ORIENTATION)
        return _Decoded(values, icc, None, int(tag.value) if tag and tag.value in UPRIGHT else 1)


def _check_tiff(page: Any) -> None:
    if page.dtype not in (bool, np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise _UnsupportedError(f"{page.dtype} pixels are not supported; convert to 8 or 16 bits or float")
    if PREMULTIPLIED in page.extrasamples:
        raise _UnsupportedError("its colours are premultiplied by transparency; save it with plain transparency")


def _tiff_values(page: Any) -> np.ndarray:
    """(H, W, N) uint8, uint16 or float32, as it lies in the file."""
    values = page.asarray()
    if page.planarconfig == SEPARATE and values.ndim == 3:
        values = np.moveaxis(values, 0, 2)
    values = values if values.ndim == 3 else values[:, :, None]
    colours = 3 if page.photometric == RGB else 1
    if values.ndim != 3 or values.shape[2] not in (colours, colours + 1):
        raise _UnsupportedError(
            f"pixels of shape {values.shape} are not supported; only gray or RGB, with transparency"
        )
    if page.photometric == WHITE_IS_ZERO:
        if values.dtype.kind == "f" or values.shape[2] == 2:
            raise _UnsupportedError("an inverted gray picture with float values or transparency is not supported")
        values = np.iinfo(values.dtype).max - values
    return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values


def _tiff_by_opencv(stream: BinaryIO, page: Any) -> np.ndarray:
    if page.photometric == WHITE_IS_ZERO:
        raise _UnsupportedError("an inverted gray picture in this compression is not supported; save it uncompressed")
    return _by_opencv(stream, page.dtype)


def _tiff_by_pillow(stream: BinaryIO) -> np.ndarray:
    stream.seek(0)
    with Image.open(stream, formats=["TIFF"]) as image:
        image.load()
        return _values8(image)


def _by_opencv(stream: BinaryIO, dtype: Any, *, gray: bool = False) -> np.ndarray:
    """(H, W, N) of that type; `gray`: of BGRA with equal colours, gray and alpha."""
    import cv2

    stream.seek(0)
    values = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != dtype:
        raise ValueError("its pixels cannot be decoded")
    values = values if values.ndim == 3 else values[:, :, None]
    if values.shape[2] < 3:
        return values
    return values[:, :, [0, 3] if gray else [2, 1, 0, 3][: values.shape[2]]]


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise _UnsupportedError(f"{width}x{height} pixels are too many; at most {max_pixels} are allowed")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# --- files of each kind: (photo, values (H, W, N) in the file's type) -> bytes ---


def _encode_png(photo: Photo, values: np.ndarray) -> bytes:
    return (
        _png16(photo, values)
        if values.dtype == np.uint16
        else _by_pillow(photo, values, "PNG", compress_level=PNG_LEVEL)
    )


def _encode_jpeg(photo: Photo, values: np.ndarray) -> bytes:
    return _by_pillow(photo, values, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _encode_webp(photo: Photo, values: np.ndarray) -> bytes:
    return _by_pillow(photo, values, "WEBP", lossless=True, exact=True)


def _encode_bmp(photo: Photo, values: np.ndarray) -> bytes:
    return _by_pillow(photo, values, "BMP")


def _by_pillow(photo: Photo, values: np.ndarray, form: str, **options: Any) -> bytes:
    """8 bits."""
    if photo.exif:
        options["exif"] = exif.PREFIX + photo.exif
    if photo.icc:
        options["icc_profile"] = photo.icc
    stream = BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(stream, form, **options)
    return stream.getvalue()


def _png16(photo: Photo, values: np.ndarray) -> bytes:
    """A PNG of 16 bits, which Pillow cannot write in colour, nor OpenCV with a profile. W3C: PNG, third edition."""
    height, width, planes = values.shape
    rows = np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 1  # filter Sub: each byte less that of the pixel before
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * planes :] -= rows[:, : -2 * planes]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[planes]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if photo.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc)))
    if photo.exif:
        chunks.append((b"eXIf", photo.exif))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), PNG_LEVEL)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return PNG + b"".join(parts)


def _encode_tiff(photo: Photo, values: np.ndarray) -> bytes:
    import tifffile

    stream = BytesIO()
    tifffile.imwrite(
        stream,
        values if values.shape[2] > 1 else values[:, :, 0],
        photometric="rgb" if values.shape[2] > 2 else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression="zlib",
        predictor=values.dtype.kind == "u",
        iccprofile=photo.icc,
        metadata=None,
        software=False,
    )
    return stream.getvalue()


class _Format(NamedTuple):
    """What files of a suffix can hold."""

    encode: Callable[[Photo, np.ndarray], bytes]
    dtypes: tuple[Any, ...] = (np.uint8,)
    alpha: bool = False
    metadata: bool = True


_PNG = _Format(_encode_png, (np.uint8, np.uint16), alpha=True)
_TIFF = _Format(_encode_tiff, (np.uint8, np.uint16, np.float32), alpha=True)
_JPEG = _Format(_encode_jpeg)
_FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _Format(_encode_bmp, metadata=False),
    ".webp": _Format(_encode_webp, alpha=True),
}


SUFFIXES = tuple(_FORMATS)


def _format(suffix: str) -> _Format:
    found = _FORMATS.get(suffix.lower())
    if found is None:
        raise ValueError(
            f"{suffix or 'no suffix'} is no kind of picture that can be written; there: {', '.join(_FORMATS)}"
        )
    return found


def _able(photo: Photo) -> str:
    return ".tif" if photo.dtype.kind == "f" else ".png or .tif"
