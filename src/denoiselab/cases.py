"""Outputs that are kept as pictures: the first ones, and a model's best, median and worst under each condition."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from denoiselab import files, images

KINDS = ("best", "median", "worst")
INDEX = "cases.json"


@dataclass(frozen=True)
class Case:
    """An output by what it gained over the noisy input."""

    kind: str  # of KINDS
    image: str
    gain: float | None  # dB; None where the output was not finite
    harmed: bool  # whether the noisy input was better, or the output not finite


class Keeper:
    """Keeps outputs until the gains of all are known: of each condition the first `samples` and the three cases."""

    def __init__(self, waiting: Path, out: Path, samples: int):
        self._waiting, self._out, self._samples = waiting, out, samples
        self._gains: dict[str, list[tuple[float, str]]] = {}

    def add(self, condition: str, image: str, gain: float, pixels: np.ndarray) -> None:
        """An output (H, W, C) uint8 and its PSNR less that of the noisy input, dB; NaN counts as the worst."""
        own = self._gains.setdefault(condition, [])
        if len(own) < self._samples:
            images.write_png(self._out / condition / f"{len(own):02d}.png", pixels)
        np.save(self._file(condition, len(own)), pixels)
        own.append((gain, image))

    def write(self) -> None:
        """<condition>/best.png, median.png, worst.png and cases.json."""
        for condition, gains in self._gains.items():
            order = sorted(range(len(gains)), key=lambda n: (np.isnan(gains[n][0]), -gains[n][0]))
            found = []
            for kind, n in zip(KINDS, (order[0], order[len(order) // 2], order[-1]), strict=True):
                images.write_png(self._out / condition / f"{kind}.png", np.load(self._file(condition, n)))
                gain, image = gains[n]
                found.append(Case(kind, image, gain if np.isfinite(gain) else None, not gain >= 0))
            files.write_json(self._out / condition / INDEX, [asdict(case) for case in found])

    def _file(self, condition: str, n: int) -> Path:
        return self._waiting / f"{condition}-{n}.npy"


@contextmanager
def keeping(out: Path, samples: int) -> Iterator[Keeper]:
    """A Keeper that has written to the new folder `out` in the end."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as waiting:
        keeper = Keeper(Path(waiting), out, samples)
        yield keeper
        keeper.write()


def read(folder: Path, condition: str) -> list[Case]:
    """The cases in what a Keeper wrote; none for a classifier."""
    path = folder / condition / INDEX
    return [Case(**case) for case in files.read_json(path)] if path.exists() else []
