"""Photos of users: files to float arrays and back, at their own depth (8 bits, 16 bits or float), with transparency,
colour profile and EXIF. dataset_images reads the images of data sets, as uint8.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiselab.imaging import decoders, encoders
from denoiselab.imaging.metadata import NOTHING, Metadata
from denoiselab.runtime import files
from denoiselab.runtime.errors import UnsupportedError, UserError

SUFFIXES = decoders.SUFFIXES
MAX_PIXELS = decoders.MAX_PIXELS
# More than this share of float values above this one: their unit is not [0, 1].
HIGHEST_NOISE, SHARE_OF_NOISE = 2.0, 0.01
BITS = (8, 10, 12, 14, 16)  # depths of cameras that store 16-bit files
# Noise falls below black, but its mean over a square of this side hardly does: lower means show another black level.
SQUARE, LOWEST_MEAN = 32, -0.1


@dataclass(frozen=True)
class Photo:
    """An upright photo, and what is needed to write it back."""

    pixels: np.ndarray  # (H, W, C) float32, C 1 or 3 unless `separate`; 0 is `black` and 1 is `white` in the file
    alpha: np.ndarray | None  # (H, W) as in the file
    dtype: np.dtype  # of the file: uint8, uint16 or float32
    white: float  # in the file's unit
    metadata: Metadata = NOTHING
    black: float = 0.0  # in the file's unit
    separate: bool = False  # channels, of any number, that are images of their own


def read(source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS, white: float | None = None) -> Photo:
    """Decode a file, or its bytes; messages call it `name`.

    `white` is the file's value that becomes 1.0. By default: 255 for 8 bits; for 16 bits the highest value of the
    smallest depth in BITS that holds the photo (4095 for a 12-bit camera); for float 1, or the highest value where
    more than 1 % of the values are above 2.

    UserError names the file and the reason: missing, unreadable, damaged, more than `max_pixels` (checked in the
    header, before decoding), several pages, CMYK, values further below 0 than noise explains.
    """
    with decoders.opened(source, name) as stream:
        return _photo(decoders.decode(stream, max_pixels), white)


def size(source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS) -> int:
    """Number of pixels stated by the header; may exceed `max_pixels`, which is for messages. UserError as `read`."""
    with decoders.opened(source, name) as stream:
        return decoders.size(stream, max_pixels)


def encode(photo: Photo, pixels: np.ndarray, suffix: str) -> bytes:
    """Encode `pixels`, shaped as those of `photo`, with the photo's depth, transparency, profile and EXIF.

    Integers are rounded and clipped, at white if nothing in the photo is above it; float values stay as they are.
    UserError: the format cannot hold them, values are not finite, or the shape differs.
    """
    if pixels.shape != photo.pixels.shape:
        raise UserError(f"pixels have shape {pixels.shape}; the photo has {photo.pixels.shape}")
    if not np.isfinite(pixels).all():
        raise UserError("the image has values that are not finite")
    check(photo, suffix)
    colours = _as_in_file(photo, pixels)
    form = encoders.of_suffix(suffix)
    alpha = photo.alpha if form.alpha else None
    values = colours if alpha is None else np.concatenate([colours, alpha[:, :, None]], axis=2)
    options = {"separate": True} if photo.separate else {}
    return form.encode(values, encoders.fitting(photo.metadata, form)[0], **options)


def dropped(photo: Photo, suffix: str) -> list[str]:
    """Names of the metadata that a file of that suffix does not hold."""
    return encoders.fitting(photo.metadata, encoders.of_suffix(suffix))[1]


def at_depth(photo: Photo, pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 clipped to [0, 1] and, unless the photo is float, rounded to the levels of its file."""
    clipped = np.clip(pixels, 0, 1)
    if photo.dtype.kind == "f":
        return clipped
    clipped *= photo.white
    return np.divide(np.rint(clipped, out=clipped), np.float32(photo.white), out=clipped)


def check(photo: Photo, suffix: str) -> None:
    """UserError if files of that suffix cannot hold the photo's depth, transparency or metadata."""
    form = encoders.of_suffix(suffix)
    if photo.dtype not in form.dtypes:
        kind = {"f": "float", "i": "signed"}.get(photo.dtype.kind, f"{8 * photo.dtype.itemsize}-bit")
        raise UserError(f"{suffix} files cannot hold {kind} pixels; write {_able(photo)}")
    if photo.separate and not form.separate:
        raise UserError(f"{suffix} files cannot hold {photo.pixels.shape[2]} channels of their own; write .tif")
    if _is_transparent(photo) and not form.alpha:
        raise UserError(f"{suffix} files cannot hold transparency; write {_able(photo)}")


def _is_transparent(photo: Photo) -> bool:
    return photo.alpha is not None and bool((photo.alpha != _opaque(photo.alpha.dtype)).any())


def _opaque(dtype: np.dtype) -> float:
    return 1 if dtype.kind == "f" else np.iinfo(dtype).max


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Prefix a ValueError with the file's name."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def write(path: Path, photo: Photo, pixels: np.ndarray) -> None:
    """`encode` into a file, replaced as a whole. UserError names the file."""
    with named(path):
        content = encode(photo, pixels, path.suffix)
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _photo(decoded: decoders.Decoded, white: float | None) -> Photo:
    dtype, colours, alpha = decoded.values.dtype, decoded.colours, decoded.alpha
    black = _black(colours)
    if white is None:
        white = 255.0 if dtype == np.uint8 else _white(colours)
    if not np.isfinite(white) or (dtype.kind == "f" and not np.isfinite(colours).all()):
        raise UnsupportedError("has values that are not finite")
    pixels = _scaled(colours, black, white)
    if _below_black(pixels):
        raise UnsupportedError(
            f"has values down to {colours.min():g}, which is below black; shift and scale them so that 0 is black"
        )
    return Photo(
        pixels, None if alpha is None else alpha.copy(), dtype, white, decoded.metadata, black, decoded.separate
    )


def _white(colours: np.ndarray) -> float:
    """Default white of 16-bit and float values, see `read`."""
    if colours.dtype.kind == "f":
        return float(colours.max()) if (colours > HIGHEST_NOISE).mean() > SHARE_OF_NOISE else 1.0
    if colours.dtype != np.uint16:
        return float(max(colours.max(), _black(colours) + 1))
    return float(next(white for bits in BITS if (white := 2**bits - 1) >= colours.max()))


def _black(colours: np.ndarray) -> float:
    """The file's value that becomes 0: the lowest one of signed integers, if it is negative."""
    return float(min(colours.min(), 0)) if colours.dtype.kind == "i" else 0.0


def _scaled(colours: np.ndarray, black: float, white: float) -> np.ndarray:
    """float32, 0 at black and 1 at white."""
    if colours.dtype.itemsize > 2 and colours.dtype != np.float32:
        return ((colours - black) / (white - black)).astype(np.float32)
    pixels = colours.astype(np.float32)
    if black:
        pixels -= np.float32(black)
    pixels /= np.float32(white - black)
    return pixels


def _below_black(pixels: np.ndarray) -> bool:
    """Whether values are further below 0 than any usual noise explains."""
    import cv2

    if pixels.min() >= LOWEST_MEAN:
        return False
    return bool((cv2.blur(pixels, (SQUARE, SQUARE)) < LOWEST_MEAN).mean() > SHARE_OF_NOISE)


def _as_in_file(photo: Photo, pixels: np.ndarray) -> np.ndarray:
    """In the file's type and unit."""
    kind = np.float32 if photo.dtype.itemsize <= 2 or photo.dtype == np.float32 else np.float64
    scaled = pixels * kind(photo.white - photo.black)
    if photo.black:
        scaled = scaled + kind(photo.black)
    if photo.dtype.kind == "f":
        return scaled.astype(photo.dtype, copy=False)
    low, high = np.iinfo(photo.dtype).min, np.iinfo(photo.dtype).max
    np.clip(scaled, low, photo.white if photo.pixels.max() <= 1 else high, out=scaled)
    return np.rint(scaled, out=scaled).astype(photo.dtype)


def _able(photo: Photo) -> str:
    """Suffixes that can hold any photo of this depth."""
    return ".png or .tif" if photo.dtype in encoders.FORMATS[".png"].dtypes else ".tif"
