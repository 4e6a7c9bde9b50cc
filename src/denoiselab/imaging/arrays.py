"""Store arrays as .npy files, and hash them."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike


@contextmanager
def npy(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield write(array), which appends values in C order to a .npy file of that total shape, with np.save's bytes.

    Raises OSError on a full disk: np.save does not notice it, and a memory map ends the process.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        yield lambda array: _append(handle, array, np.dtype(dtype))


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one array, see `npy`."""
    with npy(path, array.shape, array.dtype) as write:
        write(array)


def pixel_hash(pixels: np.ndarray) -> str:
    """sha256 of shape, type and pixels; the same for every lossless file format."""
    shape = "x".join(map(str, pixels.shape))
    return hashlib.sha256(f"{shape}:{pixels.dtype}:".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _append(handle: IO[bytes], array: np.ndarray, dtype: np.dtype) -> None:
    handle.write(np.ascontiguousarray(array, dtype).data)
