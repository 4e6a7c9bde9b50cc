"""Images of data sets: files to uint8, uint16 or float32 arrays and back, (H, W) gray or (H, W, 3) RGB, upright.

A thin layer on decoders and encoders; photos of users, which keep their metadata, are read by photos.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from denoiselab.imaging import decoders, depths, encoders, photos, stacks, white_level
from denoiselab.runtime.errors import UnsupportedError

SUFFIXES = decoders.SUFFIXES
STACKS = (".tif", ".tiff", ".stk", ".lsm")
MAX_PIXELS = 2 * decoders.MAX_PIXELS

# MATLAB's rgb2gray, which made the gray benchmark images (Pillow and OpenCV differ by one level here and there).
GRAY_WEIGHTS = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])


def read(path: Path, channels: int, page: int | None = None) -> np.ndarray:
    """Decode an image, or a page of a stack, to uint8 with 1 channel, (H, W), or 3, (H, W, 3).

    Gray is repeated to RGB, RGB weighted to gray; 16 bits are scaled to 8. UserError names the file and the reason:
    unreadable, damaged, transparent, CMYK, float, several pages.
    """
    with decoders.opened(path) as stream:
        pixels = _to_uint8(decoders.decode(stream, MAX_PIXELS, page))
    return convert(pixels, channels)


def read_deep(path: Path, channels: int, depth: int | str, white: float | None, page: int | None = None) -> np.ndarray:
    """As `read`, but at more than 8 bits: uint16 (`depth` 16) or float32 ("float").

    `white`: the file's value that becomes white; by default 65535 at 16 bits and 1 at float. UserError also for
    files of another depth (float may have 16 bits), 16-bit values above white, and float values that `white` does not
    explain.
    """
    white = white or depths.white(depths.DTYPES[depth])
    with decoders.opened(path) as stream:
        photo = photos.of_decoded(decoders.decode(stream, MAX_PIXELS, page), white)
        _check_deep(photo, depth)
    pixels = photo.pixels if depth == "float" else depths.from_unit(photo.pixels, np.uint16)
    return convert(pixels if pixels.shape[2] == 3 else pixels[:, :, 0], channels)


def read_stored(path: Path, channels: int) -> np.ndarray:
    """As `read`, at the file's own depth, for a file that `write` wrote."""
    with decoders.opened(path) as stream:
        pixels = _opaque(decoders.decode(stream, MAX_PIXELS))
    return convert(pixels, channels)


def pages(path: Path) -> int:
    """Number of images in a file: more than 1 for stacks. UserError as `read`."""
    return stacks.length(path) if path.suffix.lower() in STACKS else 1


def convert(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(H, W) or (H, W, 3) to 1 channel, (H, W), or 3, (H, W, 3), of the same type."""
    if channels == 3:
        return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels if pixels.ndim == 2 else gray(pixels)


def gray(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB to (H, W) luma, of the same type."""
    luma = rgb @ GRAY_WEIGHTS
    return (np.round(luma) if rgb.dtype.kind == "u" else luma).astype(rgb.dtype)


def resized(pixels: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resized to that width and height: bicubic, antialiased; channel by channel in float32 at more than 8 bits."""
    if pixels.shape[1::-1] == size_wh:
        return pixels
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize(size_wh, Image.Resampling.BICUBIC))
    planes = [Image.fromarray(plane) for plane in np.moveaxis(np.atleast_3d(depths.to_unit(pixels)), 2, 0)]
    values = np.dstack([np.asarray(plane.resize(size_wh, Image.Resampling.BICUBIC)) for plane in planes])
    return values if pixels.dtype.kind == "f" else depths.from_unit(values, pixels.dtype)


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """Central square crop of at most `size` pixels a side."""
    y, x = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[y : y + size, x : x + size]


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 (H, W), (H, W, 1) or (H, W, 3) RGB as PNG, whatever the suffix."""
    _write(path, pixels, ".png")


def write(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) RGB in the format of the suffix: PNG (uint8, uint16) or TIFF (float32 too)."""
    _write(path, pixels, path.suffix)


def _write(path: Path, pixels: np.ndarray, suffix: str) -> None:
    values = pixels if pixels.ndim == 3 else pixels[:, :, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoders.of_suffix(suffix).encode(values, encoders.Metadata()))


def _to_uint8(decoded: decoders.Decoded) -> np.ndarray:
    """(H, W) or (H, W, 3)."""
    if decoded.values.dtype not in (np.uint8, np.uint16):
        kind = "float" if decoded.values.dtype.kind == "f" else str(decoded.values.dtype)
        raise UnsupportedError(f"{kind} pixels need data.depth=float; or convert to 8 or 16 bits")
    pixels = _opaque(decoded)
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else np.round(pixels / 257.0).astype(np.uint8))


def _opaque(decoded: decoders.Decoded) -> np.ndarray:
    """(H, W) or (H, W, 3), of the file's type."""
    _check_one_image(decoded.separate, decoded.values.shape[2])
    _check_opaque(decoded.alpha)
    return np.ascontiguousarray(decoded.colours if decoded.colours.shape[2] == 3 else decoded.colours[:, :, 0])


def _check_one_image(separate: bool, channels: int) -> None:
    if separate:
        raise UnsupportedError(f"has {channels} channels of their own; save each as an image")


def _check_opaque(alpha: np.ndarray | None) -> None:
    if alpha is not None and alpha.min() < (1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max):
        raise UnsupportedError("has transparent pixels; flatten the image first")


def _check_deep(photo: photos.Photo, depth: int | str) -> None:
    """Refuse a file of another depth or with missing pixels, and values above white or far below 0."""
    _check_one_image(photo.separate, photo.pixels.shape[2])
    _check_opaque(photo.alpha)
    if photo.missing is not None:
        raise UnsupportedError("has missing pixels (not finite, or no-data)")
    if photo.black:
        raise UnsupportedError(f"has values down to {photo.black:g}, further below 0 than noise explains")
    if photo.dtype == np.uint8:
        raise UnsupportedError(f"has 8 bits, but data.depth is {depth}")
    if photo.dtype.kind == "f" and depth == 16:
        raise UnsupportedError("has float pixels, but data.depth is 16; set data.depth=float")
    high = photo.pixels > (1 if depth == 16 else white_level.FLOAT_HIGHEST)
    if high.mean() > (0 if depth == 16 else white_level.FLOAT_SHARE):
        highest = photo.pixels.max() * photo.white
        raise UnsupportedError(f"has values up to {highest:g}, but white is {photo.white:g}; set data.white")
