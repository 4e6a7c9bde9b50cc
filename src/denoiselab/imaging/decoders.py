"""Decode pictures as people have them: PNG, JPEG, WebP, BMP and TIFF, of 8 bits, 16 bits or float."""

import zlib
from collections.abc import Callable
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from denoiselab.imaging import exif
from denoiselab.runtime.errors import UnsupportedError, UserError

PILLOW = ("PNG", "JPEG", "WEBP", "BMP")  # read by it; TIFF by tifffile
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = GRAY_OR_RGB = 0, 1, 2  # of TIFF's PhotometricInterpretation
SEPARATE = 2  # of TIFF's PlanarConfiguration: plane by plane
UNSPECIFIED, PREMULTIPLIED = 0, 1  # of TIFF's ExtraSamples
DEFLATE = (8, 32946)  # of TIFF's Compression
LZMA = 34925
LARGEST_TILE = 1 << 26  # values
MOST_SAMPLES = 5  # of a pixel: CMYK and transparency, which Pillow tells apart
DEPTHS = (bool, np.uint8, np.uint16, np.float16, np.float32, np.float64)  # of TIFF
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


class Decoded(NamedTuple):
    """A picture as it is in its file."""

    values: np.ndarray  # (H, W, N) uint8, uint16 or float32; N 1 to 4: gray, gray and alpha, RGB, RGBA
    icc: bytes | None
    exif: bytes | None  # a bare block, orientation reset
    orientation: int  # 1 (upright) to 8, of `values`

    def upright(self) -> np.ndarray:
        return np.ascontiguousarray(UPRIGHT[self.orientation](self.values))


def decode(stream: BinaryIO, max_pixels: int) -> Decoded:
    """UnsupportedError also where the header tells of more than `max_pixels`."""
    head = _head(stream)
    if head[:4] in TIFF:
        return _decode_tiff(stream, max_pixels)
    with Image.open(stream, formats=PILLOW) as image:
        _check_size(image.size, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # a phone's JPEG with, say, a depth map behind the picture
            raise UnsupportedError(f"has {frames} frames; only single pictures are read")
        deep = head[:8] == PNG and head[24] == 16
        image.load()
        block = exif.bare(image.info.get("exif") or b"")
        icc = image.info.get("icc_profile") or None
        values = _by_opencv(stream, np.uint16, gray=head[25] == 4) if deep else _values8(image)
    return Decoded(values, icc, exif.upright(block) or None, exif.orientation(block))


def size(stream: BinaryIO) -> int:
    """Number of pixels, from the header."""
    if _head(stream)[:4] in TIFF:
        import tifffile

        with tifffile.TiffFile(stream) as tiff:
            page = _page(tiff)
            return prod(_sides(page))
    with Image.open(stream, formats=PILLOW) as image:
        return image.width * image.height


def _head(stream: BinaryIO) -> bytes:
    """The first bytes; those of PNG tell its depth and kind of colours."""
    head = stream.read(26)
    stream.seek(0)
    if not head:
        raise UnsupportedError("the file is empty")
    return head


def _values8(image: Image.Image) -> np.ndarray:
    """(H, W, N) uint8."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode in ("1", "L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise UnsupportedError(f"colour mode {image.mode} is not supported; convert to gray or RGB")
    values = np.asarray(image)
    return values if values.ndim == 3 else values[:, :, None]


def _decode_tiff(stream: BinaryIO, max_pixels: int) -> Decoded:
    """What tifffile cannot decompress (LZW) goes to Pillow and OpenCV, which turn it upright by themselves."""
    import tifffile

    with tifffile.TiffFile(stream) as tiff:
        page = _page(tiff)
        _check_size(_sides(page), max_pixels)
        _check_tiff(page)
        icc = bytes(page.iccprofile) if page.iccprofile else None
        values, turned = _tiff_pixels(page, stream)
        stream.seek(0)
        return Decoded(values, icc, exif.of_tiff(stream.read()) or None, turned)


def _page(tiff: Any) -> Any:
    """The one that is no thumbnail."""
    if not len(tiff.pages):
        raise UserError("there is no picture in it")
    pages = [page for page in tiff.pages if not page.is_reduced]
    if not pages:
        raise UnsupportedError("has a thumbnail alone, as cameras' raw files do; develop it to TIFF or PNG first")
    if len(pages) != 1:
        raise UnsupportedError(f"has {len(pages)} pages; only single pictures are read")
    return pages[0]


def _tiff_pixels(page: Any, stream: BinaryIO) -> tuple[np.ndarray, int]:
    """The values and their orientation."""
    _check_segments(page, stream)
    if page.photometric not in GRAY_OR_RGB or page.dtype == bool:
        _check_first(page)
        return _tiff_by_pillow(stream), 1
    try:
        values = _tiff_values(page)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        _check_first(page)
        return _tiff_by_pillow(stream) if page.dtype == np.uint8 else _tiff_by_opencv(stream, page), 1
    tag = page.tags.get(exif.ORIENTATION)
    return values, int(tag.value) if tag and tag.value in UPRIGHT else 1


def _check_first(page: Any) -> None:
    """For Pillow and OpenCV, which read the first page, whatever it is."""
    if page.index != 0:
        raise UnsupportedError("has a thumbnail before the picture in this compression; save it without that")


def _sides(page: Any) -> tuple[int, int]:
    """Width and height that the header tells."""
    width, height = page.imagewidth, page.imagelength
    if not (isinstance(width, int) and isinstance(height, int)):  # tifffile gives what there is, several numbers too
        raise UserError("its width and height are no numbers")
    return width, height


def _check_tiff(page: Any) -> None:
    """What can be told before anything is decoded."""
    if page.dtype not in DEPTHS:
        raise UnsupportedError(f"{page.dtype} pixels are not supported; convert to 8 or 16 bits or float")
    if PREMULTIPLIED in page.extrasamples:
        raise UnsupportedError("its colours are premultiplied by transparency; save it with plain transparency")
    if UNSPECIFIED in page.extrasamples:
        raise UnsupportedError("has a channel beside its colours that is no transparency; save the picture without it")
    if page.samplesperpixel > MOST_SAMPLES or page.imagedepth > 1:
        raise UnsupportedError(f"pixels of shape {page.shape} are not supported; only gray or RGB, with transparency")


def _check_segments(page: Any, stream: BinaryIO) -> None:
    """That no tile is huge, and that Deflate holds no more than the header says: tifffile inflates what is there."""
    if page.compression == LZMA:
        raise UnsupportedError("LZMA compression is not supported; save it with Deflate, LZW or none")
    if page.is_tiled and prod(page.chunks) > LARGEST_TILE:
        raise UnsupportedError(f"tiles of {page.tilewidth}x{page.tilelength} pixels are too large")
    most = prod(page.chunks) * page.dtype.itemsize
    for at, count in zip(page.dataoffsets, page.databytecounts, strict=False) if page.compression in DEFLATE else []:
        stream.seek(at)
        if len(zlib.decompressobj().decompress(stream.read(count), most + 1)) > most:
            raise UnsupportedError("holds more pixels than its header says")


def _tiff_values(page: Any) -> np.ndarray:
    """(H, W, N) uint8, uint16 or float32, as it lies in the file."""
    values = page.asarray()
    if page.planarconfig == SEPARATE and values.ndim == 3:
        values = np.moveaxis(values, 0, 2)
    values = values if values.ndim == 3 else values[:, :, None]
    colours = 3 if page.photometric == RGB else 1
    if values.ndim != 3 or values.shape[2] not in (colours, colours + 1):
        raise UnsupportedError(f"pixels of shape {values.shape} are not supported; only gray or RGB, with transparency")
    if page.photometric == WHITE_IS_ZERO:
        if values.dtype.kind == "f" or values.shape[2] == 2:
            raise UnsupportedError("an inverted gray picture with float values or transparency is not supported")
        values = np.iinfo(values.dtype).max - values
    return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values


def _tiff_by_opencv(stream: BinaryIO, page: Any) -> np.ndarray:
    if page.photometric == WHITE_IS_ZERO:
        raise UnsupportedError("an inverted gray picture in this compression is not supported; save it uncompressed")
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
        raise UserError("its pixels cannot be decoded")
    values = values if values.ndim == 3 else values[:, :, None]
    if values.shape[2] < 3:
        return values
    return values[:, :, [0, 3] if gray else [2, 1, 0, 3][: values.shape[2]]]


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnsupportedError(f"{width}x{height} pixels are too many; at most {max_pixels} are allowed")
