"""Depth of a data set's pixels: uint8, uint16 or float32 arrays, and images in [0, 1], where white is 1."""

import numpy as np
from numpy.typing import DTypeLike

DTYPES: dict[int | str, np.dtype] = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16), "float": np.dtype(np.float32)}
_WHITE = {DTYPES[8]: 255, DTYPES[16]: 65535, DTYPES["float"]: 1}


def white(dtype: DTypeLike) -> int:
    """The value of white in arrays of that type: the peak of PSNR."""
    return _WHITE[np.dtype(dtype)]


def steps(dtype: DTypeLike) -> int | None:
    """Number of steps from black to white, to which images of that depth are rounded; None for float."""
    return white(dtype) if np.dtype(dtype).kind == "u" else None


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Stored pixels as float32 with white 1."""
    return pixels.astype(np.float32) / white(pixels.dtype)


def from_unit(image: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """A float image clipped to [0, 1], with white and the rounding of that type."""
    scaled = np.clip(image, 0, 1) * white(dtype)
    return (np.round(scaled, out=scaled) if steps(dtype) else scaled).astype(dtype)
