"""Refuse images that need more than the free memory."""

from collections.abc import Iterable

import torch

from denoiselab.app.denoisers import Denoiser
from denoiselab.runtime import devices
from denoiselab.runtime.errors import BusyError

BYTES_PER_PIXEL = 100  # about eight arrays of three float32, besides the model's tiles
PROGRAM_BYTES = 1 << 29  # libraries, weights and tiles


def check_memory(pixels: int, chosen: Iterable[Denoiser]) -> None:
    """BusyError if there is too little memory to restore an image of `pixels` pixels with the `chosen` denoisers."""
    whole = max((denoiser.whole_bytes(pixels) for denoiser in chosen), default=0)
    needed, free = PROGRAM_BYTES + pixels * BYTES_PER_PIXEL + whole, devices.free_bytes(torch.device("cpu"))
    if needed > free:
        raise BusyError(
            f"{pixels / 1e6:.1f} megapixels need {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; "
            "try again later or use a smaller image"
        )
