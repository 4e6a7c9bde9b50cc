"""Outputs stored as images: samples, and each model's best, median and worst output under each condition."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from denoiselab.imaging import arrays, dataset_images
from denoiselab.runtime import files

KINDS = ("best", "median", "worst")
INDEX = "cases.json"
WRITERS = 2  # threads


@dataclass(frozen=True)
class Case:
    """One of a model's best, median and worst outputs, by gain over the noisy input."""

    kind: str  # of KINDS
    image: str
    gain: float | None  # dB; None if the output is not finite
    harmed: bool  # worse than the noisy input, or not finite


class Keeper:
    """Stores the first `samples` outputs of each condition and, once all gains are known, the three cases.

    `writers` write the files in the background.
    """

    def __init__(self, waiting: Path, out: Path, samples: int, writers: Executor):
        self._waiting, self._out, self._samples, self._writers = waiting, out, samples, writers
        self._gains: dict[str, list[tuple[float, str]]] = {}
        self._written: list[Future[None]] = []

    def add(self, condition: str, image: str, gain: float, pixels: np.ndarray) -> None:
        """Add an output (H, W, C) uint8 and its gain over the noisy input in dB; NaN ranks last."""
        own = self._gains.setdefault(condition, [])
        if len(own) < self._samples:
            self._submit(dataset_images.write_png, self._out / condition / f"{len(own):02d}.png", pixels)
        self._submit(arrays.write_npy, self._file(condition, len(own)), pixels)
        own.append((gain, image))

    def write(self) -> None:
        """Write <condition>/best.png, median.png, worst.png and cases.json."""
        self._wait()
        for condition, gains in self._gains.items():
            order = sorted(range(len(gains)), key=lambda n: (np.isnan(gains[n][0]), -gains[n][0]))
            found = []
            for kind, n in zip(KINDS, (order[0], order[len(order) // 2], order[-1]), strict=True):
                self._submit(
                    dataset_images.write_png, self._out / condition / f"{kind}.png", np.load(self._file(condition, n))
                )
                gain, image = gains[n]
                found.append(Case(kind, image, gain if np.isfinite(gain) else None, not gain >= 0))
            files.write_json(self._out / condition / INDEX, [asdict(case) for case in found])
        self._wait()

    def _submit(self, write: Callable[..., None], path: Path, pixels: np.ndarray) -> None:
        self._written.append(self._writers.submit(write, path, pixels))

    def _wait(self) -> None:
        """Wait for all files; raises their errors."""
        for written in self._written:
            written.result()
        self._written.clear()

    def _file(self, condition: str, n: int) -> Path:
        return self._waiting / f"{condition}-{n}.npy"


@contextmanager
def keeping(out: Path, samples: int) -> Iterator[Keeper]:
    """A Keeper that writes to the folder `out` on exit; what an earlier or killed one left there is deleted."""
    shutil.rmtree(out, ignore_errors=True)
    waiting = out / "waiting"
    waiting.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(WRITERS) as writers:
            keeper = Keeper(waiting, out, samples, writers)
            yield keeper
            keeper.write()
    finally:
        shutil.rmtree(waiting, ignore_errors=True)


def read(folder: Path, condition: str) -> list[Case]:
    """Read the cases that a Keeper wrote; none for a classifier."""
    path = folder / condition / INDEX
    return [Case(**case) for case in files.read_json(path)] if path.exists() else []
