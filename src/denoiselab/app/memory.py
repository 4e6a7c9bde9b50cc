"""Refuses what the machine has too little free memory for."""

from collections.abc import Iterable

import torch

from denoiselab.app.denoisers import Denoiser
from denoiselab.runtime import devices
from denoiselab.runtime.errors import BusyError

BYTES_PER_PIXEL = 100  # of a computation, beside the model's tiles: some eight arrays of three float32
PROGRAM_BYTES = 1 << 29  # libraries, weights and tiles


def check_memory(pixels: int, chosen: Iterable[Denoiser]) -> None:
    """BusyError where the machine has too little free memory for a picture of so many pixels and these denoisers."""
    whole = max((denoiser.whole_bytes(pixels) for denoiser in chosen), default=0)
    needed, free = PROGRAM_BYTES + pixels * BYTES_PER_PIXEL + whole, devices.free_bytes(torch.device("cpu"))
    if needed > free:
        raise BusyError(
            f"a picture of {pixels / 1e6:.1f} megapixels needs {needed / 1e9:.1f} GB of memory here, and only "
            f"{free / 1e9:.1f} GB are free; try it later, or a smaller one"
        )
