"""What the page takes on, so that no visitor and no ten of them exhaust the machine."""

from dataclasses import dataclass

from denoiselab.runtime.errors import UserError

MODELS = 4  # side by side, at most
WAITING = 20  # visitors in the line, at most
SAMPLES = 16  # outcomes of samples that are kept for the next visitor, at most; some 2 MB each


@dataclass(frozen=True)
class Limits:
    """Of one upload: 10^6 bytes of the file, 10^6 pixels of the picture."""

    megabytes: int = 50
    megapixels: int = 24

    def __post_init__(self) -> None:
        """ValueError where a limit is not above 0."""
        for name in ("megabytes", "megapixels"):
            if getattr(self, name) < 1:
                raise UserError(f"--max-{name}: must be at least 1, not {getattr(self, name)}")

    @property
    def pixels(self) -> int:
        return self.megapixels * 10**6

    def check_file(self, size: int) -> None:
        """ValueError for a file of more bytes."""
        if size > self.megabytes * 10**6:
            raise UserError(f"the file has {size / 1e6:.1f} MB; this page takes at most {self.megabytes} MB")
