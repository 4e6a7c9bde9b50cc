"""Denoise one image: choose the model, restore, blend, and say what the user has to know of it."""

import shutil
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from denoiselab.app import denoisers, strength, value_range
from denoiselab.app.batch_plan import Task
from denoiselab.imaging import encoders, photos
from denoiselab.metrics import tone
from denoiselab.noise.analysis import Estimate
from denoiselab.runtime import files

AUTO = "auto"
CARRIED = 1e-4  # fraction of the values far above white or below black that is worth a warning


@dataclass(frozen=True)
class Settings:
    """How images are denoised."""

    model: str = AUTO  # as denoisers.load takes it; auto: chosen for each image
    quality: str = "best"  # size of released weights: fast or best
    sigma_255: float | None = None  # None: estimated where needed
    white: float | None = None  # pixel value of white; None: by bit depth
    device: str = "auto"
    tile: int | None = None  # pixels
    force: bool = False  # overwrite
    linear: bool = False  # develop camera raw files without sRGB's transfer function
    progress: bool = False  # show a bar for the images of a stack
    strength: float = 1.0  # of the restoration in the output, the rest is the input


@dataclass(frozen=True)
class Outcome:
    """Result of a task."""

    task: Task
    status: str  # denoised, clean (saved unchanged), there (skipped) or failed
    model: str = ""
    reason: str = ""  # for the choice of the model, or for the failure
    level_unused: bool = False  # the model ignored the given noise level
    dropped: tuple[str, ...] = ()  # names of metadata that the output does not have
    images: int = 1  # in the file
    warning: str = ""


class Choice(NamedTuple):
    """The model for an image."""

    model: str  # name; empty: the image is clean
    reason: str = ""
    noise: Estimate | None = None  # if it was estimated


class Restored(NamedTuple):
    """A restored image."""

    pixels: np.ndarray  # (H, W, C) float32, blended with the input
    level_unused: bool  # the model ignored the given noise level
    warning: str
    kept: list[strength.Kept]  # below strength 1: of each channel of its own, or of the image


class Restorer:
    """Chooses and applies models, which it keeps loaded; used by several threads."""

    def __init__(self, settings: Settings, jobs: int = 1):
        """`jobs`: number of images at a time, which share the free memory."""
        from denoiselab.runtime import devices

        on_gpu = devices.choose(settings.device, "--device").type == "cuda"
        self.settings = settings
        self.jobs = 1 if on_gpu else jobs  # on a GPU, threads take turns
        self.turn: AbstractContextManager = threading.Lock() if on_gpu else nullcontext()
        self.loading = threading.Lock()
        self.loaded: dict[str, denoisers.Denoiser] = {}
        self.model = denoisers.resolved(settings.model, settings.quality)
        if self.model != AUTO:  # report a wrong name first
            self.loaded[self.model] = denoisers.load(self.model)

    def choose(self, photo: photos.Photo) -> Choice:
        """The given model, or the one for the noise in the photo."""
        if self.model != AUTO:
            return Choice(self.model)
        return typical([self._choice(*channel) for channel in photos.channels(photo)])

    def _choice(self, pixels: np.ndarray, factor: float) -> Choice:
        settings, noise = self.settings, denoisers.estimate(pixels)
        noise = replace(noise, reason=noise.reason + photos.brightened(factor))
        if noise.kind == "clean" and settings.sigma_255 is not None:
            noise = replace(noise, kind="gaussian", reason=f"given noise level {settings.sigma_255:g} of 255")
        name, reason = denoisers.choose(noise, pixels.shape[2])
        return Choice("" if noise.kind == "clean" else denoisers.resolved(name, settings.quality), reason, noise)

    def restore(self, photo: photos.Photo, choice: Choice) -> Restored:
        """Restore a photo by the chosen model, at the strength of the settings."""
        settings, denoiser = self.settings, self._denoiser(choice.model)
        results, kept, warnings = [], [], dict[str, None]()
        for pixels, factor in photos.channels(photo):
            if pixels.min() == pixels.max():  # an empty image of a stack
                results.append(pixels / np.float32(factor))
                continue
            level = None if settings.sigma_255 is None else settings.sigma_255 * factor
            with self.turn:
                restored = denoiser.restore(
                    pixels,
                    sigma_255=level,
                    device=settings.device,
                    tile=settings.tile,
                    jobs=self.jobs,
                )
            share = value_range.far(pixels, level)
            if share >= CARRIED:
                share_in_words = f"{100 * share:.2f} % of the values"
                warnings[f"{share_in_words} are far outside black and white: kept, not denoised"] = None
            if shift := tone.largest(pixels, restored):
                warnings[f"tones shifted: {shift.darkened(factor)}"] = None
            if settings.strength < 1:
                noise = None if photo.separate else choice.noise
                kept.append(strength.kept(pixels, restored, settings.strength, noise).darkened(factor))
            results.append(strength.blend(pixels, restored, settings.strength) / np.float32(factor))
        unused = settings.sigma_255 is not None and not denoiser.takes_level(results[0].shape[2])
        joined = np.concatenate(results, axis=2) if photo.separate else results[0]
        return Restored(joined, unused, "; ".join(warnings), kept)

    def _denoiser(self, name: str) -> denoisers.Denoiser:
        with self.loading:
            if name not in self.loaded:
                self.loaded[name] = denoisers.load(name)
            return self.loaded[name]


def denoise(task: Task, restorer: Restorer) -> Outcome:
    """Denoise an image file. UserError: it cannot be read, or the output cannot hold it."""
    settings = restorer.settings
    photo = photos.read(task.source, white=settings.white, separate=True, linear=settings.linear)
    with photos.named(task.source):
        photos.check(photo, task.target.suffix)
    choice = restorer.choose(photo)
    dropped = tuple(photos.dropped(photo, task.target.suffix))
    if not choice.model:
        copied = _save_unchanged(task, photo)
        reason = in_words(choice.reason, photo.white_in_words)
        return Outcome(task, "clean", reason=reason, dropped=() if copied else dropped)
    restored = restorer.restore(photo, choice)
    photos.write(task.target, photo, restored.pixels)
    reason = in_words(choice.reason, strength.in_words(restored.kept), photo.white_in_words)
    return Outcome(task, "denoised", choice.model, reason, restored.level_unused, dropped, warning=restored.warning)


def typical(choices: Sequence[Choice]) -> Choice:
    """That of median noise level, of those that are not clean."""
    noisy = sorted((one for one in choices if one.model), key=lambda one: one.noise.sigma_255 if one.noise else 0.0)
    return noisy[len(noisy) // 2] if noisy else choices[0]


def in_words(*reasons: str) -> str:
    """The reasons that there are, joined."""
    return "; ".join(filter(None, reasons))


def copy(source: Path, target: Path) -> None:
    """Copy a file, replaced as a whole."""
    with files.atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


def _save_unchanged(task: Task, photo: photos.Photo) -> bool:
    """Copy the file, or convert it if the suffixes or formats differ; returns whether it was copied."""
    if task.source.suffix.lower() != task.target.suffix.lower() or task.target.suffix.lower() not in encoders.FORMATS:
        photos.write(task.target, photo, photo.pixels)
        return False
    copy(task.source, task.target)
    return True
