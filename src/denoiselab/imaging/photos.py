"""Pictures of users between files and arrays, at the depth they have: 8 bits, 16 bits or float, with transparency,
colour profile and EXIF. (denoiselab.imaging.dataset_images reads those of the pipeline, as uint8.)
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from denoiselab.imaging import decoders, encoders
from denoiselab.runtime import files
from denoiselab.runtime.errors import UnsupportedError, UserError
from denoiselab.runtime.sanitize import one_line

SUFFIXES = tuple(encoders.FORMATS)
MAX_PIXELS = 178_956_970  # of which Pillow says that more may be a decompression bomb
# Float values that are higher, and more of them, are in other units than [0, 1].
HIGHEST_NOISE, SHARE_OF_NOISE = 2.0, 0.01
BITS = (8, 10, 12, 14, 16)  # of cameras' values, which files store in 16
# Noise goes below black, its mean over a square of such a side hardly: where more are lower, black is another value.
SQUARE, LOWEST_MEAN = 32, -0.1

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


def read(source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS, white: float | None = None) -> Photo:
    """Decode a file, or its bytes, which messages call `name`.

    `white` is the file's value that becomes 1.0; None: 255 of 8 bits, of 16 the highest value of the fewest BITS that
    hold the picture (4095 of a 12-bit camera's), of float 1, or the highest value where more than one in a hundred is
    above 2. ValueError names the file and the reason: missing, unreadable,
    damaged, of more than `max_pixels` (which its header tells, before it is decoded), of several pages, CMYK, with
    values farther below 0 than noise takes them.
    """
    with _opened(source, name, max_pixels) as stream:
        return _photo(decoders.decode(stream, max_pixels), white)


def size(source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS) -> int:
    """Number of pixels, from the header; may be above `max_pixels`, which messages name. ValueError as `read`."""
    with _opened(source, name, max_pixels) as stream:
        return decoders.size(stream)


@contextmanager
def _opened(source: Path | bytes, name: str, max_pixels: int) -> Iterator[BinaryIO]:
    """The file. What goes wrong with it comes out as a ValueError with its name and the reason."""
    called = name or (str(source) if isinstance(source, Path) else "the picture")
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
    except UnsupportedError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - of a damaged file a decoder may raise anything
        reason = f"damaged image: {one_line(error)}"
    raise UserError(f"{called}: {reason}")


def encode(photo: Photo, pixels: np.ndarray, suffix: str) -> bytes:
    """The file of `pixels`, (H, W, C) as those of `photo`, with the photo's depth, transparency, profile and EXIF.

    Integers are rounded and clamped, to white where the photo has nothing above it; float values stay as they are.
    ValueError where that kind of file cannot hold them, values are not finite, or the shape is another one.
    """
    if pixels.shape != photo.pixels.shape:
        raise UserError(f"pixels of shape {pixels.shape} are not those of a picture of {photo.pixels.shape}")
    if not np.isfinite(pixels).all():
        raise UserError("the picture has values that are not finite")
    check(photo, suffix)
    colours = _as_in_file(photo, pixels)
    values = colours if photo.alpha is None else np.concatenate([colours, photo.alpha[:, :, None]], axis=2)
    return encoders.of_suffix(suffix).encode(values, encoders.About(photo.icc, photo.exif))


def at_depth(photo: Photo, pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 in [0, 1], clipped and, unless the photo is of float, rounded as its file holds them."""
    clipped = np.clip(pixels, 0, 1)
    if photo.dtype.kind == "f":
        return clipped
    clipped *= photo.white
    return np.divide(np.rint(clipped, out=clipped), np.float32(photo.white), out=clipped)


def check(photo: Photo, suffix: str) -> None:
    """ValueError where files of that suffix cannot hold a picture of the photo's kind."""
    form = encoders.of_suffix(suffix)
    if photo.dtype not in form.dtypes:
        kind = "float" if photo.dtype.kind == "f" else f"{8 * photo.dtype.itemsize}-bit"
        raise UserError(f"{suffix} files cannot hold a {kind} picture; write {_able(photo)}")
    if photo.alpha is not None and not form.alpha:
        raise UserError(f"{suffix} files cannot hold transparency; write {_able(photo)}")
    if (photo.icc or photo.exif) and not form.about:
        raise UserError(f"{suffix} files cannot hold a colour profile or EXIF; write {_able(photo)}")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """ValueErrors with the file's name before them."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def write(path: Path, photo: Photo, pixels: np.ndarray) -> None:
    """`encode` into a file that is either whole or not there. ValueError also names the file."""
    with named(path):
        content = encode(photo, pixels, path.suffix)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def _white(colours: np.ndarray) -> float:
    """Of 16 bits: what the fewest BITS hold. Of float: 1, which noise may exceed, or the highest value."""
    if colours.dtype.kind == "f":
        return float(colours.max()) if (colours > HIGHEST_NOISE).mean() > SHARE_OF_NOISE else 1.0
    return float(next(white for bits in BITS if (white := 2**bits - 1) >= colours.max()))


def _below_black(pixels: np.ndarray) -> bool:
    """Whether there are values below 0 that noise of any usual level does not explain."""
    import cv2

    if pixels.min() >= LOWEST_MEAN:
        return False
    return bool((cv2.blur(pixels, (SQUARE, SQUARE)) < LOWEST_MEAN).mean() > SHARE_OF_NOISE)


def _photo(decoded: decoders.Decoded, white: float | None) -> Photo:
    values = decoded.upright()
    if not values.size:
        raise UnsupportedError("has no pixels")
    colours = values[:, :, : 1 if values.shape[2] <= 2 else 3]
    if white is None:
        white = 255.0 if values.dtype == np.uint8 else _white(colours)
    if not np.isfinite(white) or (values.dtype.kind == "f" and not np.isfinite(colours).all()):
        raise UnsupportedError("has values that are not finite")
    pixels = colours.astype(np.float32)
    pixels /= np.float32(white)
    if _below_black(pixels):
        raise UnsupportedError(
            f"has values down to {colours.min():g}, which is below black; shift and scale them so that 0 is black"
        )
    alpha = values[:, :, -1].copy() if values.shape[2] in (2, 4) else None
    return Photo(pixels, alpha, values.dtype, white, decoded.icc, decoded.exif)


def _as_in_file(photo: Photo, pixels: np.ndarray) -> np.ndarray:
    """In the file's own type and units."""
    scaled = pixels * np.float32(photo.white)
    if photo.dtype.kind == "f":
        return scaled.astype(photo.dtype, copy=False)
    np.clip(scaled, 0, photo.white if photo.pixels.max() <= 1 else np.iinfo(photo.dtype).max, out=scaled)
    return np.rint(scaled, out=scaled).astype(photo.dtype)


def _able(photo: Photo) -> str:
    return ".tif" if photo.dtype.kind == "f" else ".png or .tif"
