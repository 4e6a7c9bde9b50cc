"""Images of data sets: files to uint8 arrays and back, (H, W) gray or (H, W, 3) RGB, upright.

A thin layer on decoders and encoders; photos of users, which keep depth and metadata, are read by photos.
"""

from pathlib import Path

import numpy as np

from denoiselab.imaging import decoders, encoders, stacks
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


def pages(path: Path) -> int:
    """Number of images in a file: more than 1 for stacks. UserError as `read`."""
    return stacks.length(path) if path.suffix.lower() in STACKS else 1


def convert(pixels: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) to 1 channel, (H, W), or 3, (H, W, 3)."""
    if channels == 3:
        return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels if pixels.ndim == 2 else gray(pixels)


def gray(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (H, W) uint8 luma."""
    return np.round(rgb @ GRAY_WEIGHTS).astype(np.uint8)


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """Central square crop of at most `size` pixels a side."""
    y, x = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[y : y + size, x : x + size]


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 (H, W), (H, W, 1) or (H, W, 3) RGB as PNG."""
    values = pixels if pixels.ndim == 3 else pixels[:, :, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoders.of_suffix(".png").encode(values, encoders.Metadata()))


def _to_uint8(decoded: decoders.Decoded) -> np.ndarray:
    """(H, W) or (H, W, 3)."""
    if decoded.separate:
        raise UnsupportedError(f"has {decoded.values.shape[2]} channels of their own; save each as an image")
    if decoded.values.dtype not in (np.uint8, np.uint16):
        kind = "float" if decoded.values.dtype.kind == "f" else str(decoded.values.dtype)
        raise UnsupportedError(f"{kind} pixels are not supported in data sets; convert to 8 or 16 bits")
    if decoded.alpha is not None and decoded.alpha.min() < np.iinfo(decoded.values.dtype).max:
        raise UnsupportedError("has transparent pixels; flatten the image first")
    pixels = decoded.colours if decoded.colours.shape[2] == 3 else decoded.colours[:, :, 0]
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else np.round(pixels / 257.0).astype(np.uint8))
