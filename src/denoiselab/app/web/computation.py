"""Computation for a visitor: add noise, estimate it, denoise with each model, score, encode."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from denoiselab.app import denoisers, memory, side_by_side
from denoiselab.app.side_by_side import Score
from denoiselab.app.strength import Kept
from denoiselab.app.web import limits, noise_choices
from denoiselab.app.web.downloads import Download
from denoiselab.app.web.views import Gallery, Views
from denoiselab.imaging import photos
from denoiselab.models.metadata import CARD

AUTO = "auto"
NOISY, ORIGINAL, CLEAN = "noisy", "original", "clean"


@dataclass(frozen=True)
class Task:
    """A visitor's choices. `noise`: kind and level of the noise to add, or None."""

    data: bytes  # file content
    name: str  # file name
    noise: tuple[str, float] | None
    models: tuple[str, ...]  # names and paths as denoisers.load takes them, and AUTO
    quality: str = "best"  # of the released weights that AUTO chooses
    sample: bool = False  # its outcome is shared by all visitors
    strength: float = 1.0  # share of the model's result


@dataclass(frozen=True)
class Result:
    """Time, score and download of one model."""

    model: str
    title: str
    seconds: float
    score: Score | None
    download: Download
    kept: Kept | None = None  # of noise and detail, below strength 1


@dataclass(frozen=True)
class Outcome:
    """Results of a task; its files are deleted with it."""

    size: tuple[int, int]  # width, height
    depth: str  # "16-bit"
    estimate: denoisers.Estimate
    chosen: tuple[str, str] | None  # by AUTO: model and reason
    noisy: Score | None
    results: list[Result]
    views: Views
    folder: TemporaryDirectory[str]


class Archive:
    """The results of several tasks in a ZIP file, which is deleted with this object."""

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks
        self.failures: list[str] = []
        self.done = self.files = 0
        self._folder = TemporaryDirectory(prefix="denoiselab-page-", ignore_cleanup_errors=True)
        self.download = Download(Path(self._folder.name) / "denoised.zip", "denoised.zip")

    @property
    def left(self) -> list[Task]:
        """Tasks that were not added yet."""
        return self.tasks[self.done :]

    def fill(self, compute: Callable[[Task, str], tuple[Outcome | None, str]]) -> None:
        """Compute and add the tasks that are left; the call gets a task and its place in words.

        An exception of it leaves the archive as it is: another call goes on from there.
        """
        for task in self.left:
            self.add(task, *compute(task, f"Image {self.done + 1} of {len(self.tasks)}. "))

    def add(self, task: Task, outcome: Outcome | None, failure: str) -> None:
        """Add the results of the next task, under the names of their downloads, or why it failed."""
        self.done += 1
        if outcome is None:
            self.failures.append(failure if failure.startswith(task.name) else f"{task.name}: {failure}")
            return
        with ZipFile(self.download.file, "a") as archive:
            for download in (result.download for result in outcome.results):
                self.files += 1
                taken = download.name in archive.namelist()
                archive.write(download.file, f"{self.files}-{download.name}" if taken else download.name)


def model(name: str) -> denoisers.Denoiser:
    """Load a model once for all visitors, and again after a new training."""
    return _model(name, _trained(name))


@lru_cache(8)
def _model(name: str, trained: int) -> denoisers.Denoiser:
    return denoisers.load(name)


def _trained(name: str) -> int:
    """When the metadata of a model in a folder were written, in ns; 0 for other models."""
    path = Path(name) / CARD
    return path.stat().st_mtime_ns if path.exists() else 0


_samples: dict[tuple[Task, tuple[int, ...]], Outcome] = {}


def kept(task: Task) -> Outcome | None:
    """The outcome for a sample image, if it was computed before by the same weights."""
    return _samples.get(_sample(task)) if task.sample else None


def _sample(task: Task) -> tuple[Task, tuple[int, ...]]:
    return task, tuple(map(_trained, task.models))


def check(data: bytes, name: str, max_pixels: int) -> None:
    """UserError if the file's header shows that it is not an image or exceeds `max_pixels`; decodes nothing."""
    if photos.size(data, name=name, max_pixels=max_pixels) > max_pixels:
        photos.read(data, name=name, max_pixels=max_pixels)  # raises the error


def run(task: Task, max_pixels: int, tell: Callable[[str], None]) -> Outcome:
    """Compute a task, reporting each step to `tell`, which may stop it by raising. Not thread-safe.

    UserError if the image is invalid or cannot be processed.
    """
    outcome = kept(task) or _run(task, max_pixels, tell)
    if task.sample:
        _samples[_sample(task)] = outcome
        if len(_samples) > limits.SAMPLES:
            del _samples[next(iter(_samples))]  # the oldest
    return outcome


def _run(task: Task, max_pixels: int, tell: Callable[[str], None]) -> Outcome:
    tell("Reading the image")
    pixels = min(photos.size(task.data, name=task.name, max_pixels=max_pixels), max_pixels)
    memory.check_memory(pixels, [model(name) for name in task.models if name != AUTO])
    photo = photos.read(task.data, name=task.name, max_pixels=max_pixels)
    height, width, channels = photo.pixels.shape
    clean = photo.pixels if task.noise else None
    noisy = noise_choices.added(photo.pixels, *task.noise) if task.noise else photo.pixels
    tell("Estimating the noise")
    estimate = denoisers.estimate(noisy)
    chosen = _chosen(estimate, channels, task.quality) if AUTO in task.models else None
    before = side_by_side.score(clean, noisy)
    gallery = Gallery(noisy if clean is None else clean)
    gallery.add(NOISY if clean is not None else ORIGINAL, _decibels(before), noisy)
    folder = TemporaryDirectory(prefix="denoiselab-page-", ignore_cleanup_errors=True)
    results: list[Result] = []
    for name in _distinct(task.models, chosen):
        tell(f"Denoising: {name}")
        denoiser = model(name)
        progress = _Progress(name, tell)
        version = side_by_side.restored(denoiser, photo, noisy, clean, task.strength, progress)
        gallery.add(name, _decibels(version.score), version.pixels)
        suffix = _suffix(task.name, photo)
        file = Path(folder.name) / f"{len(results)}{suffix}"
        file.write_bytes(photos.encode(photo, version.pixels, suffix))
        download = Download(file, f"{Path(task.name).stem}-{name.replace('/', '-')}{suffix}")
        assert version.seconds is not None
        results.append(Result(name, denoiser.entry.title, version.seconds, version.score, download, version.kept))
    if clean is not None:
        gallery.add(CLEAN, "reference", clean)
    return Outcome((width, height), _depth(photo), estimate, chosen, before, results, gallery.shown, folder)


class _Progress:
    """Tells the share of a large image that is done, and the time left."""

    def __init__(self, name: str, tell: Callable[[str], None]) -> None:
        self.name, self.tell, self.began = name, tell, time.perf_counter()

    def __call__(self, share: float) -> None:
        left = (time.perf_counter() - self.began) * (1 - share) / share
        self.tell(f"Denoising: {self.name}, {100 * share:.0f} % done, {left:.0f} s left")


def _chosen(estimate: denoisers.Estimate, channels: int, quality: str) -> tuple[str, str]:
    name, reason = denoisers.choose(estimate, channels)
    return denoisers.resolved(name, quality), reason


def _suffix(name: str, photo: photos.Photo) -> str:
    """Suffix of the denoised file: the first of the original's, .png and .tif that can hold the image and drops the
    least metadata."""
    able = [suffix for suffix in (Path(name).suffix.lower(), ".png", ".tif") if _holds(suffix, photo)]
    return min(able, key=lambda suffix: len(photos.dropped(photo, suffix)))


def _holds(suffix: str, photo: photos.Photo) -> bool:
    try:
        photos.check(photo, suffix)
    except ValueError:
        return False
    return True


def _depth(photo: photos.Photo) -> str:
    return "float" if photo.dtype.kind == "f" else f"{8 * photo.dtype.itemsize}-bit"


def _distinct(models: tuple[str, ...], chosen: tuple[str, str] | None) -> list[str]:
    """Names without duplicates, AUTO replaced by the chosen model."""
    return list(dict.fromkeys(chosen[0] if name == AUTO and chosen else name for name in models))


def _decibels(score: Score | None) -> str:
    return f"{score.psnr:.2f} dB" if score else ""
