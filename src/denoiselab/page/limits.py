"""What the page takes on, so that no visitor and no ten of them exhaust the machine."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from denoiselab import devices
from denoiselab.denoisers import Denoiser

MODELS = 4  # side by side, at most
WAITING = 20  # visitors in the line, at most
SAMPLES = 16  # outcomes of samples that are kept for the next visitor, at most; some 2 MB each
BYTES_PER_PIXEL = 100  # of a computation, beside the model's tiles: some eight arrays of three float32
PROGRAM_BYTES = 1 << 29  # libraries, weights and tiles


class BusyError(ValueError):
    """What would be done at another time: the line is full, or memory is short."""


@dataclass(frozen=True)
class Limits:
    """Of one upload: 10^6 bytes of the file, 10^6 pixels of the picture."""

    megabytes: int = 50
    megapixels: int = 24

    def __post_init__(self) -> None:
        """ValueError where a limit is not above 0."""
        for name in ("megabytes", "megapixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"--max-{name}: must be at least 1, not {getattr(self, name)}")

    @property
    def pixels(self) -> int:
        return self.megapixels * 10**6

    def check_file(self, size: int) -> None:
        """ValueError for a file of more bytes."""
        if size > self.megabytes * 10**6:
            raise ValueError(f"the file has {size / 1e6:.1f} MB; this page takes at most {self.megabytes} MB")


def check_memory(pixels: int, chosen: Iterable[Denoiser]) -> None:
    """BusyError where the machine has too little free memory for a picture of so many pixels and these denoisers."""
    whole = max((denoiser.whole_bytes(pixels) for denoiser in chosen), default=0)
    needed, free = PROGRAM_BYTES + pixels * BYTES_PER_PIXEL + whole, devices.free_bytes(torch.device("cpu"))
    if needed > free:
        raise BusyError(
            f"a picture of {pixels / 1e6:.1f} megapixels needs {needed / 1e9:.1f} GB of memory here, and only "
            f"{free / 1e9:.1f} GB are free; try it later, or a smaller one"
        )
