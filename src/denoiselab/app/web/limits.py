"""Limits of the page, so that visitors cannot exhaust the machine."""

from dataclasses import dataclass

from denoiselab.runtime.errors import UserError

MODELS = 4  # side by side
FILES = 10  # of a visitor
VISITORS = 4  # with all their files at the largest size
WAITING = 20  # visitors in the queue
SAMPLES = 16  # cached outcomes of sample images, about 2 MB each


@dataclass(frozen=True)
class Limits:
    """Limits of an upload: file size in 10^6 bytes, image size in 10^6 pixels."""

    megabytes: int = 50
    megapixels: int = 24

    def __post_init__(self) -> None:
        """UserError if a limit is below 1."""
        for name in ("megabytes", "megapixels"):
            if getattr(self, name) < 1:
                raise UserError(f"--max-{name}: must be at least 1, not {getattr(self, name)}")

    @property
    def pixels(self) -> int:
        return self.megapixels * 10**6

    @property
    def bytes(self) -> int:
        return self.megabytes * 10**6

    def has_room(self, files: int, own: int, everybody: int) -> bool:
        """Whether one more upload may be stored beside `files` files of this visitor. `own` and `everybody` are the
        bytes with it, of this visitor and of all. Twice the files, so that the page can name those too many."""
        most = FILES * self.bytes + 2**20  # some for the headers of each part
        return files < 2 * FILES and own <= most and everybody <= VISITORS * most

    def check_number(self, number: int) -> None:
        """UserError if so many files before this one are too many."""
        if number >= FILES:
            raise UserError(f"only {FILES} images at a time")

    def check_file(self, size: int) -> None:
        """UserError if a file of `size` bytes is too large."""
        if size > self.bytes:
            raise UserError(f"{size / 1e6:.1f} MB; the limit is {self.megabytes} MB")
