"""Photos of users: files to float arrays and back, at their own depth (8 bits, 16 bits or float), with transparency,
colour profile and EXIF. dataset_images reads the images of data sets, as uint8.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiselab.imaging import decoders, encoders, stacks, white_level
from denoiselab.imaging.metadata import NOTHING, Metadata
from denoiselab.runtime import files
from denoiselab.runtime.errors import UnsupportedError, UserError

SUFFIXES = decoders.SUFFIXES
MAX_PIXELS = decoders.MAX_PIXELS
# Noise falls below black, but its mean over a square of this side hardly does: more than this share of lower means show
# another black level.
FILL = 1e19  # float values from here on are missing: the fill values of netCDF and of GIS programs
SQUARE, LOWEST_MEAN, SHARE_OF_NOISE = 32, -0.1, 0.01


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
    missing: np.ndarray | None = None  # (H, W, C) bool; their pixels are filled from those around
    fillers: np.ndarray | None = None  # values of the missing pixels in the file, in order
    fill: float | None = None  # value of missing pixels that the file does not state
    white_reason: str = ""  # why this white, in words; empty: the usual one of its type, or given

    @property
    def white_in_words(self) -> str:
        """The chosen white for a message; empty if it is the usual one, or given. And a value taken for no-data."""
        white = f"white is {self.white:g}, {self.white_reason}" if self.white_reason else ""
        return "; ".join(filter(None, [white, "" if self.fill is None else f"{self.fill:g} is taken for no-data"]))


def read(
    source: Path | bytes,
    *,
    name: str = "",
    max_pixels: int = MAX_PIXELS,
    white: float | None = None,
    separate: bool = False,
    linear: bool = False,
    page: int | None = None,
) -> Photo:
    """Decode a file, or its bytes; messages call it `name`.

    `white` is the file's value that becomes 1.0; None: by white_level.choose, such as 4095 for a 12-bit camera.

    UserError names the file and the reason: missing, unreadable, damaged, more than `max_pixels` (checked in the
    header, before decoding), a stack unless its image `page` is meant, CMYK without profile, channels that do not
    belong together (unless `separate`).

    `linear` leaves out sRGB's transfer function where a camera raw file is developed.

    0 is black, unless values are further below it than noise explains, or signed integers negative: then the lowest.
    Missing pixels are filled, and kept when the image is written: values that are not finite, GDAL's no-data value, and
    what white_level.fill_value finds.
    """
    with decoders.opened(source, name) as stream:
        decoded = decoders.decode(stream, max_pixels, page, linear=linear)
        if decoded.separate and not separate:
            raise UnsupportedError(
                f"has {decoded.values.shape[2]} channels of their own; only denoise and estimate take them"
            )
        deep = white is None and decoded.values.dtype != np.uint8
        return of_decoded(decoded, white, stated=white_level.stated(stream) if deep else None)


def of_stack(stack: stacks.Stack, n: int, white: float | None = None, black: float | None = None) -> Photo:
    """Image `n` of a stack as `read` returns it, with `white` and `black` unless None. UserError as `read`."""
    decoded = stack.decode(n)
    with decoders.errors(f"{stack.path}: page {n + 1}"):
        return of_decoded(decoded, white, black, stack.white, empty=True)


def size(source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS) -> int:
    """Number of pixels stated by the header; may exceed `max_pixels`, which is for messages. UserError as `read`."""
    with decoders.opened(source, name) as stream:
        return decoders.size(stream, max_pixels)


def encode(photo: Photo, pixels: np.ndarray, suffix: str) -> bytes:
    """Encode `pixels`, shaped as those of `photo`, with the photo's depth, transparency, profile and EXIF.

    Integers are rounded and clipped, at white if nothing in the photo is above it; float values stay as they are.
    UserError: the format cannot hold them, values are not finite, or the shape differs.
    """
    form = encoders.of_suffix(suffix)
    check(photo, suffix)
    values = stored(photo, pixels, alpha=form.alpha)
    options = {"separate": True} if photo.separate else {}
    return form.encode(values, encoders.fitting(photo.metadata, form)[0], **options)


def stored(photo: Photo, pixels: np.ndarray, *, alpha: bool = True) -> np.ndarray:
    """(H, W, N) in the file's type and unit, with transparency if there is any and `alpha`. UserError as `encode`."""
    if pixels.shape != photo.pixels.shape:
        raise UserError(f"pixels have shape {pixels.shape}; the photo has {photo.pixels.shape}")
    if not np.isfinite(pixels).all():
        raise UserError("the image has values that are not finite")
    colours = _as_in_file(photo, pixels)
    if photo.missing is not None:
        colours[photo.missing] = photo.fillers
    return colours if photo.alpha is None or not alpha else np.concatenate([colours, photo.alpha[:, :, None]], axis=2)


def dropped(photo: Photo, suffix: str) -> list[str]:
    """Names of the metadata that a file of that suffix does not hold."""
    return encoders.fitting(photo.metadata, encoders.of_suffix(suffix))[1]


def channels(photo: Photo) -> list[tuple[np.ndarray, float]]:
    """(pixels (H, W, C), factor) of what is denoised by itself: the photo, or each channel if they are separate.

    The pixels are multiplied by the factor, a power of two that brings dark separate channels near white.
    """
    if not photo.separate:
        return [(photo.pixels, 1.0)]
    found = []
    for n in range(photo.pixels.shape[2]):
        pixels = np.ascontiguousarray(photo.pixels[:, :, n : n + 1])
        usual = float(np.quantile(pixels, white_level.QUANTILE))
        factor = 2.0 ** max(0, math.floor(-math.log2(usual))) if usual > 0 else 1.0
        found.append((pixels * np.float32(factor), factor))
    return found


def brightened(factor: float) -> str:
    """What `channels` did, in words that follow a statement about its pixels; empty if nothing."""
    return f" of the channel, brightened {factor:g} times" if factor > 1 else ""


def at_depth(photo: Photo, pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 clipped to [0, 1] and, unless the photo is float, rounded to the levels of its file."""
    clipped = np.clip(pixels, 0, 1)
    if photo.dtype.kind == "f":
        return clipped
    levels = np.float32(photo.white - photo.black)
    clipped *= levels
    return np.divide(np.rint(clipped, out=clipped), levels, out=clipped)


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


def of_decoded(
    decoded: decoders.Decoded,
    white: float | None = None,
    black: float | None = None,
    stated: float | None = None,
    *,
    empty: bool = False,
) -> Photo:
    """A decoded image as `read` returns it; `stated`: white stated by the file. UnsupportedError: no finite value,
    unless it may be `empty`, as an image in a stack."""
    dtype, colours, alpha = decoded.values.dtype, decoded.colours, decoded.alpha
    missing, fill = _missing(colours, decoded.no_data)
    fillers = None
    if missing is not None:
        if missing.all() and not empty:
            raise UnsupportedError("has no values that are finite")
        fillers = colours[missing]
        colours = np.zeros_like(colours) if missing.all() else _filled(colours, missing)
    white, reason = white_level.choose(colours, stated) if white is None else (white, "")
    level = _black(colours) if black is None else black
    if white <= level:
        raise UserError(f"--white {white:g} is below the image's black, {level:g}")
    pixels = _scaled(colours, level, white)
    if black is None and pixels.min() < LOWEST_MEAN:
        lowest = white_level.lowest(colours)
        if _below_black(np.maximum(pixels, np.float32((lowest - level) / (white - level)))):
            level = lowest
            pixels = _scaled(colours, level, white)
    alpha = None if alpha is None else alpha.copy()
    return Photo(pixels, alpha, dtype, white, decoded.metadata, level, decoded.separate, missing, fillers, fill, reason)


def _missing(colours: np.ndarray, no_data: float | None) -> tuple[np.ndarray | None, float | None]:
    """Where values are not finite, `no_data` or obviously meant so, None: nowhere; and the value that is meant so."""
    with np.errstate(over="ignore"):
        missing = ~(np.abs(colours) < FILL) if colours.dtype.kind == "f" else np.zeros(colours.shape, bool)
    if no_data is not None and np.isfinite(no_data):
        missing |= colours == (np.float32(no_data) if colours.dtype == np.float32 else no_data)
    fill = None
    if colours.dtype.kind in "if" and not missing.all():
        fill = white_level.fill_value(colours[~missing] if missing.any() else colours)
        missing = missing if fill is None else missing | (colours == fill)
    return missing if missing.any() else None, fill


def _filled(colours: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Missing values replaced by means over growing squares around them."""
    import cv2

    filled = np.where(missing, 0, colours).astype(np.float64)
    left, side = missing.copy(), 3
    for n in range(colours.shape[2]):
        present = (~missing[:, :, n]).astype(np.float64)
        given = filled[:, :, n].copy()
        side = 3
        while left[:, :, n].any():
            share = cv2.boxFilter(present, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
            total = cv2.boxFilter(given, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
            near = left[:, :, n] & (share > 0.5 / side**2)
            filled[:, :, n][near] = total[near] / share[near]
            left[:, :, n] &= ~near
            side = 2 * side + 1
            if side > 4 * max(colours.shape):  # a channel without any value
                filled[:, :, n][left[:, :, n]] = filled.mean()
                break
    return filled.astype(colours.dtype)


def _black(colours: np.ndarray) -> float:
    """The file's value that becomes 0: the lowest one of signed integers, if it is negative."""
    return float(min(white_level.lowest(colours), 0)) if colours.dtype.kind == "i" else 0.0


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
    np.clip(scaled, low, min(photo.white, high) if photo.pixels.max() <= 1 else high, out=scaled)
    return np.rint(scaled, out=scaled).astype(photo.dtype)


def _able(photo: Photo) -> str:
    """Suffixes that can hold any photo of this depth."""
    return ".png or .tif" if photo.dtype in encoders.FORMATS[".png"].dtypes else ".tif"
