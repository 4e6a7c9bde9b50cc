"""Images between files and arrays: uint8, (H, W) gray or (H, W, 3) RGB, upright."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import DTypeLike
from PIL import Image, ImageOps, UnidentifiedImageError

from denoiselab.runtime.errors import UnsupportedError, UserError
from denoiselab.runtime.sanitize import one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")  # Pillow's; of others, such as PostScript, it would run programs

# MATLAB's rgb2gray, which made the gray benchmark images (Pillow and OpenCV differ by one level here and there).
GRAY_WEIGHTS = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])


def read(path: Path, channels: int) -> np.ndarray:
    """Decode an image to uint8 with 1 channel, (H, W), or 3, (H, W, 3).

    Gray is repeated to RGB and RGB weighted to gray as `channels` asks; 16 bits are scaled to 8.
    ValueError names the file and the reason: unreadable, truncated, transparent, CMYK, animated.
    """
    pixels = _decode(path)
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257.0).astype(np.uint8)
    return convert(pixels, channels)


def convert(pixels: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) to 1 channel, (H, W), or 3, (H, W, 3)."""
    if channels == 3:
        return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels if pixels.ndim == 2 else gray(pixels)


def gray(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (H, W) uint8 luma."""
    return np.round(rgb @ GRAY_WEIGHTS).astype(np.uint8)


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """The square of `size` pixels in the middle, or what there is of it."""
    y, x = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[y : y + size, x : x + size]


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 (H, W), (H, W, 1) or (H, W, 3) RGB as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(
        path, compress_level=3
    )


@contextmanager
def npy(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield write(array), which adds the next values in C order to a .npy file of that whole shape, as np.save has it.

    A full disk is an OSError that says so: np.save only counts what it wrote, and a memory map ends the process.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        yield lambda array: _append(handle, array, np.dtype(dtype))


def _append(handle: IO[bytes], array: np.ndarray, dtype: np.dtype) -> None:
    handle.write(np.ascontiguousarray(array, dtype).data)


def write_npy(path: Path, array: np.ndarray) -> None:
    """One array, see `npy`."""
    with npy(path, array.shape, array.dtype) as write:
        write(array)


def pixel_hash(pixels: np.ndarray) -> str:
    """sha256 of an image's shape and pixels: equal for equal pictures in whatever file format."""
    shape = "x".join(map(str, pixels.shape))
    return hashlib.sha256(f"{shape}:{pixels.dtype}:".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _decode(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size == 0:
            raise UnsupportedError(f"{path}: the file is empty")
        with Image.open(path, formats=FORMATS) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise UnsupportedError(f"{path}: has {frames} frames or pages; only single images are read")
            if image.mode == "RGB" and path.suffix.lower() in (".png", ".tif", ".tiff") and _is_rgb16(path):
                return _decode_rgb16(path)
            image.load()
            return _pixels(ImageOps.exif_transpose(image), path)
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image that can be read ({', '.join(s[1:] for s in SUFFIXES)})") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: too many pixels to be safe to decode") from None
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except MemoryError:
        raise UserError(f"{path}: too large for this machine's memory") from None
    except UnsupportedError:
        raise
    except Exception as error:  # noqa: BLE001 - of a damaged file a decoder may raise anything
        raise UserError(f"{path}: damaged image: {one_line(error)}") from None


def _pixels(image: Image.Image, path: Path) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if mode == "I":  # Pillow's 32-bit container of 16-bit gray PNGs
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnsupportedError(f"{path}: 32-bit integer pixels are not supported; convert to 8 or 16 bits")
        return values.astype(np.uint16)
    if mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    if mode == "1":
        image = image.convert("L")
    if image.mode in ("LA", "RGBA"):
        if np.asarray(image.getchannel("A")).min() < 255:
            raise UnsupportedError(f"{path}: has transparent pixels; flatten the image first")
        image = image.convert(image.mode[:-1])
    if image.mode not in ("L", "RGB"):
        raise UnsupportedError(f"{path}: colour mode {image.mode} is not supported; convert to gray or RGB")
    return np.asarray(image)


def _is_rgb16(path: Path) -> bool:
    """Pillow reads 48-bit colour as 8-bit without a word; OpenCV keeps the depth."""
    if path.suffix.lower() == ".png":
        with path.open("rb") as handle:
            return handle.read(25)[24:] == b"\x10"
    with Image.open(path, formats=["TIFF"]) as image:
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
    return max(bits) == 16


def _decode_rgb16(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3:
        raise UnsupportedError(f"{path}: damaged image")
    if pixels.shape[2] == 4:
        raise UnsupportedError(f"{path}: 16-bit colour with transparency is not supported; flatten the image first")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
