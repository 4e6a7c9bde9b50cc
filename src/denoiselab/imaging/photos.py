"""Photos of users: files to float arrays and back, at their own depth (8 bits, 16 bits or float), with transparency,
colour profile and EXIF. dataset_images reads the images of data sets, as uint8.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiselab.imaging import decoders, encoders, white_level
from denoiselab.runtime import files
from denoiselab.runtime.errors import UnsupportedError, UserError

SUFFIXES = tuple(encoders.FORMATS)
MAX_PIXELS = decoders.MAX_PIXELS
# Noise falls below black, but its mean over a square of this side hardly does: more than this share of lower means show
# another black level.
SQUARE, LOWEST_MEAN, SHARE_OF_NOISE = 32, -0.1, 0.01


@dataclass(frozen=True)
class Photo:
    """An upright photo, and what is needed to write it back."""

    pixels: np.ndarray  # (H, W, C) float32, C 1 or 3; 0 is black, 1 is `white` in the file
    alpha: np.ndarray | None  # (H, W) as in the file
    dtype: np.dtype  # of the file: uint8, uint16 or float32
    white: float  # in the file's unit
    icc: bytes | None
    exif: bytes | None  # without JPEG's prefix, orientation reset
    white_reason: str = ""  # why this white, in words; empty: the usual one of its type, or given

    @property
    def white_in_words(self) -> str:
        """The chosen white for a message; empty if it is the usual one, or given."""
        return f"white is {self.white:g}, {self.white_reason}" if self.white_reason else ""


def read(source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS, white: float | None = None) -> Photo:
    """Decode a file, or its bytes; messages call it `name`.

    `white` is the file's value that becomes 1.0; None: by white_level.choose, such as 4095 for a 12-bit camera.

    UserError names the file and the reason: missing, unreadable, damaged, more than `max_pixels` (checked in the
    header, before decoding), several pages, CMYK, values further below 0 than noise explains.
    """
    with decoders.opened(source, name) as stream:
        decoded = decoders.decode(stream, max_pixels)
        deep = white is None and decoded.values.dtype != np.uint8
        return _photo(decoded, white, white_level.stated(stream) if deep else None)


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
    values = colours if photo.alpha is None else np.concatenate([colours, photo.alpha[:, :, None]], axis=2)
    return encoders.of_suffix(suffix).encode(values, encoders.Metadata(photo.icc, photo.exif))


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
        kind = "float" if photo.dtype.kind == "f" else f"{8 * photo.dtype.itemsize}-bit"
        raise UserError(f"{suffix} files cannot hold {kind} pixels; write {_able(photo)}")
    if photo.alpha is not None and not form.alpha:
        raise UserError(f"{suffix} files cannot hold transparency; write {_able(photo)}")
    if (photo.icc or photo.exif) and not form.metadata:
        raise UserError(f"{suffix} files cannot hold a colour profile or EXIF; write {_able(photo)}")


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


def _photo(decoded: decoders.Decoded, white: float | None, stated: float | None) -> Photo:
    dtype, colours, alpha = decoded.values.dtype, decoded.colours, decoded.alpha
    if dtype.kind == "f" and not np.isfinite(colours).all():
        raise UnsupportedError("has values that are not finite")
    white, reason = white_level.choose(colours, stated) if white is None else (white, "")
    if not np.isfinite(white):
        raise UnsupportedError("has values that are not finite")
    pixels = colours.astype(np.float32)
    pixels /= np.float32(white)
    if _below_black(pixels):
        raise UnsupportedError(
            f"has values down to {colours.min():g}, which is below black; shift and scale them so that 0 is black"
        )
    return Photo(pixels, None if alpha is None else alpha.copy(), dtype, white, decoded.icc, decoded.exif, reason)


def _below_black(pixels: np.ndarray) -> bool:
    """Whether values are further below 0 than any usual noise explains."""
    import cv2

    if pixels.min() >= LOWEST_MEAN:
        return False
    return bool((cv2.blur(pixels, (SQUARE, SQUARE)) < LOWEST_MEAN).mean() > SHARE_OF_NOISE)


def _as_in_file(photo: Photo, pixels: np.ndarray) -> np.ndarray:
    """In the file's type and unit."""
    scaled = pixels * np.float32(photo.white)
    if photo.dtype.kind == "f":
        return scaled.astype(photo.dtype, copy=False)
    np.clip(scaled, 0, photo.white if photo.pixels.max() <= 1 else np.iinfo(photo.dtype).max, out=scaled)
    return np.rint(scaled, out=scaled).astype(photo.dtype)


def _able(photo: Photo) -> str:
    """Suffixes that can hold any photo of this depth."""
    return ".tif" if photo.dtype.kind == "f" else ".png or .tif"
