"""Images of data sets: files to uint8, uint16 or float32 arrays and back, (H, W) gray or (H, W, 3) RGB, upright.

A thin layer on decoders and encoders; photos of users, which keep their metadata, are read by photos.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from denoiselab.imaging import decoders, depths, encoders
from denoiselab.runtime.errors import UnsupportedError

SUFFIXES = tuple(encoders.FORMATS)
MAX_PIXELS = 2 * decoders.MAX_PIXELS

# MATLAB's rgb2gray, which made the gray benchmark images (Pillow and OpenCV differ by one level here and there).
GRAY_WEIGHTS = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])


def read(path: Path, channels: int) -> np.ndarray:
    """Decode an image to uint8 with 1 channel, (H, W), or 3, (H, W, 3).

    Gray is repeated to RGB, RGB weighted to gray; 16 bits are scaled to 8. UserError names the file and the reason:
    unreadable, damaged, transparent, CMYK, float, several pages.
    """
    with decoders.opened(path) as stream:
        pixels = _to_uint8(decoders.decode(stream, MAX_PIXELS))
    return convert(pixels, channels)


def read_stored(path: Path, channels: int) -> np.ndarray:
    """As `read`, at the file's own depth, for a file that `write` wrote."""
    with decoders.opened(path) as stream:
        pixels = _opaque(decoders.decode(stream, MAX_PIXELS))
    return convert(pixels, channels)


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
    values = np.stack([plane.resize(size_wh, Image.Resampling.BICUBIC) for plane in planes], axis=2)
    return values if pixels.dtype.kind == "f" else depths.from_unit(values, pixels.dtype)


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """Central square crop of at most `size` pixels a side."""
    y, x = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[y : y + size, x : x + size]


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 or uint16 (H, W), (H, W, 1) or (H, W, 3) RGB as PNG."""
    _write(path, ".png", pixels)


def write(path: Path, pixels: np.ndarray) -> Path:
    """Write (H, W) or (H, W, 3) RGB as PNG or, if float, as TIFF; returns `path` with the suffix added."""
    suffix = ".png" if pixels.dtype.kind == "u" else ".tif"
    path = path.with_name(path.name + suffix)
    _write(path, suffix, pixels)
    return path


def _write(path: Path, suffix: str, pixels: np.ndarray) -> None:
    values = pixels if pixels.ndim == 3 else pixels[:, :, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoders.of_suffix(suffix).encode(values, encoders.Metadata()))


def _to_uint8(decoded: decoders.Decoded) -> np.ndarray:
    """(H, W) or (H, W, 3)."""
    if decoded.values.dtype.kind == "f":
        raise UnsupportedError("float pixels are not supported in data sets; convert to 8 or 16 bits")
    pixels = _opaque(decoded)
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else np.round(pixels / 257.0).astype(np.uint8))


def _opaque(decoded: decoders.Decoded) -> np.ndarray:
    """(H, W) or (H, W, 3), of the file's type."""
    opaque = 1 if decoded.values.dtype.kind == "f" else np.iinfo(decoded.values.dtype).max
    if decoded.alpha is not None and decoded.alpha.min() < opaque:
        raise UnsupportedError("has transparent pixels; flatten the image first")
    return np.ascontiguousarray(decoded.colours if decoded.colours.shape[2] == 3 else decoded.colours[:, :, 0])
