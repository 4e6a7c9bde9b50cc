"""Denoise image files: plan the outputs, process images in parallel within bounded memory, report errors per image."""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import psutil

from denoiselab.app import denoisers, strength
from denoiselab.imaging import decoders, encoders, photos, stacks
from denoiselab.metrics import tone
from denoiselab.noise.analysis import Estimate
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError

AUTO = "auto"
PIXEL_BYTES = 64  # memory of an image (as read, as float, restored, encoded) without the network's features
GLOB = "*?["
WRITTEN_AS = dict.fromkeys((".stk", ".lsm", *decoders.RAW_SUFFIXES), ".tif")  # others: PNG
FAULTS = (ValueError, OSError, MemoryError, RuntimeError, cv2.error)  # RuntimeError: for example torch out of memory


@dataclass(frozen=True)
class Task:
    """An image file and the output file."""

    source: Path
    target: Path


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


def tasks(sources: Sequence[str], output: str, *, form: str = "", suffix: str = "") -> list[Task]:
    """Tasks for files, folders and glob patterns, in order, each file once.

    In a folder, outputs are named like their sources, with `suffix` before the file suffix, which is that of the format
    `form`, such as "tif", or of the source; formats that are only read become PNG or TIFF.

    The folder structure is kept below `output`. Hidden files are left out, and so are files in an `output` that lies
    within the searched folder. A single file is written to the file `output`, unless that is a folder, ends in a slash
    or has no suffix. UserError if no image is found, if `output` is a file or named like one but there are several
    images, or if an output would overwrite its source or another output.
    """
    found = _found(sources, Path(output))
    target = Path(output)
    single = len(sources) == 1 and Path(sources[0]).is_file()
    if single and not (target.is_dir() or output.endswith(("/", os.sep)) or not target.suffix):
        planned = [Task(next(iter(found)), target)]
    elif target.is_file():
        raise UserError(f"{output}: is a file; several images need a folder as output")
    elif not target.is_dir() and not output.endswith(("/", os.sep)) and target.suffix.lower() in encoders.FORMATS:
        raise UserError(f"{output}: is named like a file; several images need a folder as output, such as {output}/")
    else:
        planned = [Task(*pair) for pair in zip(found, _named([*found.values()], target, form, suffix), strict=True)]
    _check(planned)
    return planned


def image_files(sources: Sequence[str]) -> list[Path]:
    """Image files given by files, folders and glob patterns. UserError if there are none."""
    return list(_found(sources, None))


def ignored(sources: Sequence[str], output: str) -> list[Path]:
    """Files in folders and glob patterns that `tasks` leaves out because of their suffix."""
    found = {file: None for text in sources for file, _ in _expanded(text, Path(output)) if not Path(text).is_file()}
    return [file for file in found if not _is_image(file.name)]


def run(planned: Sequence[Task], settings: Settings) -> Iterator[Outcome]:
    """Do the tasks and yield their outcomes in order; an error in one does not stop the others.

    With at least two images per core, images are processed in parallel, one core each; otherwise one after another on
    all cores. Existing outputs are skipped unless `settings.force`: outputs are complete, because they are written
    under a temporary name first.
    """
    from denoiselab.runtime import parallel

    missing = [task for task in planned if settings.force or not task.target.exists()]
    jobs = parallel.cores(parallel.Local(-1)) if len(missing) > 1 else 1
    jobs = jobs if len(missing) >= 2 * jobs else 1
    worker = _Worker(settings, jobs)
    if jobs == 1:
        yield from map(worker, planned)
    else:
        yield from parallel.each(parallel.Local(jobs), worker, planned)


def failure(error: Exception, source: Path, target: Path | None = None) -> str:
    """Message for one of FAULTS, in one line with the file name."""
    from denoiselab.runtime import devices

    if devices.is_out_of_memory(error):
        return f"{source}: not enough memory; try a smaller image"
    reason = str(error) or type(error).__name__
    named = str(source) in reason or (target is not None and str(target) in reason)
    return reason if named else f"{source}: {reason}"


class _Worker:
    """Processes a task; called by several threads."""

    def __init__(self, settings: Settings, jobs: int):
        from denoiselab.runtime import devices

        on_gpu = devices.choose(settings.device, "--device").type == "cuda"
        self.settings = settings
        self.jobs = 1 if on_gpu else jobs  # share free memory; on a GPU, threads take turns
        self.memory = _Memory(psutil.virtual_memory().available // 2)
        self.turn: AbstractContextManager = threading.Lock() if on_gpu else nullcontext()
        self.loading = threading.Lock()
        self.loaded: dict[str, denoisers.Denoiser] = {}
        self.model = denoisers.resolved(settings.model, settings.quality)
        if self.model != AUTO:  # report a wrong name first
            self.loaded[self.model] = denoisers.load(self.model)

    def __call__(self, task: Task) -> Outcome:
        if task.target.exists() and not self.settings.force:
            return Outcome(task, "there", reason=f"{task.target}: already exists")
        try:
            with (
                self.memory.taken(_bytes(photos.size(task.source), self.loaded.get(self.model))),
                stacks.opened(task.source) as stack,
            ):
                return self._denoised_stack(task, stack) if stack else self._denoised(task)
        except FAULTS as error:
            return Outcome(task, "failed", reason=failure(error, task.source, task.target))

    def _denoised(self, task: Task) -> Outcome:
        photo = photos.read(task.source, white=self.settings.white, separate=True, linear=self.settings.linear)
        with photos.named(task.source):
            photos.check(photo, task.target.suffix)
        name, reason, noise = self._chosen(photo)
        dropped = tuple(photos.dropped(photo, task.target.suffix))
        if not name:
            copied = _save_unchanged(task, photo)
            reason = "; ".join(filter(None, (reason, photo.white_in_words)))
            return Outcome(task, "clean", reason=reason, dropped=() if copied else dropped)
        share = self.settings.strength
        restored, unused = self._restored(photo, name)
        photos.write(task.target, photo, strength.blend(photo.pixels, restored, share))
        kept = str(strength.kept(photo.pixels, restored, share, noise)) if share < 1 and not photo.separate else ""
        reason = "; ".join(filter(None, (reason, kept, photo.white_in_words)))
        return Outcome(task, "denoised", name, reason, unused, dropped, warning=_shifted(photo, restored))

    def _denoised_stack(self, task: Task, stack: stacks.Stack) -> Outcome:
        """Image by image; white and model are those of the first image of each channel."""
        from tqdm import tqdm

        stacks.check(task.target)
        chosen: dict[tuple[int, int], tuple[str, str, float, float]] = {}
        dropped: dict[str, None] = {}
        unused, warning = False, ""
        bar = tqdm(
            range(len(stack)), desc=task.source.name, unit="image", leave=False, disable=not self.settings.progress
        )
        with files.atomic_write(task.target) as temporary:
            with stacks.written(temporary, stack) as write:
                for n in bar:
                    decoded = stack.decode(n)
                    key = stack.channel(n), decoded.values.shape[2]
                    _, _, white, black = chosen.get(key, ("", "", self.settings.white, None))
                    with decoders.errors(f"{task.source}: page {n + 1}"):
                        photo = photos.of_decoded(decoded, white, black, stack.white)
                    if key not in chosen:
                        name, reason, _ = self._chosen(photo)
                        reason = "; ".join(filter(None, (reason, photo.white_in_words)))
                        chosen[key] = name, reason, photo.white, photo.black
                    restored = photo.pixels
                    if name := chosen[key][0]:
                        restored, ignored = self._restored(photo, name)
                        unused = unused or ignored
                        if not warning and (shifted := _shifted(photo, restored)):
                            warning = f"image {n + 1}: {shifted}"
                        restored = strength.blend(photo.pixels, restored, self.settings.strength)
                    names = write(photos.stored(photo, restored), photo.metadata, photo.separate)
                    dropped |= dict.fromkeys(names)
            models = {name: reason for name, reason, *_ in chosen.values() if name}
            if not models:
                shutil.copyfile(task.source, temporary)
                reason = next(iter(chosen.values()))[1]
                return Outcome(task, "clean", reason=reason, images=len(stack))
        reasons = ", ".join(dict.fromkeys(reason for reason in models.values() if reason))
        named = ", ".join(models)
        return Outcome(task, "denoised", named, reasons, unused, tuple(dropped), len(stack), warning)

    def _chosen(self, photo: photos.Photo) -> tuple[str, str, Estimate | None]:
        """Name of the model, empty for a clean image, the reason for it, and the noise if it was estimated."""
        settings = self.settings
        if self.model != AUTO:
            return self.model, "", None
        channels = 1 if photo.separate else photo.pixels.shape[2]
        noise = denoisers.estimate(photo.pixels[:, :, :1] if photo.separate else photo.pixels)
        if noise.kind == "clean" and settings.sigma_255 is not None:
            noise = replace(noise, kind="gaussian", reason=f"given noise level {settings.sigma_255:g} of 255")
        name, reason = denoisers.choose(noise, channels)
        return "" if noise.kind == "clean" else denoisers.resolved(name, settings.quality), reason, noise

    def _restored(self, photo: photos.Photo, name: str) -> tuple[np.ndarray, bool]:
        """Pixels like those of the photo, and whether the model ignored the given noise level."""
        settings, denoiser = self.settings, self._denoiser(name)
        pixels = photo.pixels
        channels = [pixels[:, :, n : n + 1] for n in range(pixels.shape[2])] if photo.separate else [pixels]
        with self.turn:
            restored = [
                denoiser.restore(
                    np.ascontiguousarray(part),
                    sigma_255=settings.sigma_255,
                    device=settings.device,
                    tile=settings.tile,
                    jobs=self.jobs,
                )
                for part in channels
            ]
        unused = settings.sigma_255 is not None and not denoiser.takes_level(channels[0].shape[2])
        return np.concatenate(restored, axis=2) if len(restored) > 1 else restored[0], unused

    def _denoiser(self, name: str) -> denoisers.Denoiser:
        with self.loading:
            if name not in self.loaded:
                self.loaded[name] = denoisers.load(name)
            return self.loaded[name]


def _bytes(pixels: int, denoiser: denoisers.Denoiser | None) -> int:
    """Memory needed to process an image; `denoiser` None: one to be chosen, which works in tiles."""
    whole = denoiser.whole_bytes(pixels) if denoiser else 0
    return pixels * PIXEL_BYTES + (whole or min(pixels, denoisers.TILE**2) * denoisers.BYTES_PER_PIXEL)


class _Memory:
    """A budget of `total` bytes, shared by images in progress; an image that exceeds it is processed alone."""

    def __init__(self, total: int):
        self.total = self.free = total
        self.changed = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        share = min(wanted, self.total)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= share)
            self.free -= share
        try:
            yield
        finally:
            with self.changed:
                self.free += share
                self.changed.notify_all()


def _save_unchanged(task: Task, photo: photos.Photo) -> bool:
    """Copy the file, or convert it if the suffixes or formats differ; returns whether it was copied."""
    if task.source.suffix.lower() != task.target.suffix.lower() or task.target.suffix.lower() not in encoders.FORMATS:
        photos.write(task.target, photo, photo.pixels)
        return False
    with files.atomic_write(task.target) as temporary:
        shutil.copyfile(task.source, temporary)
    return True


def _named(relatives: list[Path], folder: Path, form: str, suffix: str) -> list[Path]:
    """Output files, all different where formats that are only read get another suffix."""
    if form and f".{form}" not in encoders.FORMATS:
        raise UserError(f"--format: unknown format {form!r}; choose from: {', '.join(s[1:] for s in encoders.FORMATS)}")
    written = [(path, f".{form}" if form else _written_as(path.suffix)) for path in relatives]
    kept = {path.with_name(f"{path.stem}{suffix}{end}") for path, end in written if end == path.suffix}
    targets = []
    for path, end in written:
        target = path.with_name(f"{path.stem}{suffix}{end}")
        if end != path.suffix and target in kept:
            target = path.with_name(f"{path.name}{suffix}{end}")  # a.gif beside a.png
        kept.add(target)
        targets.append(folder / target)
    return targets


def _written_as(suffix: str) -> str:
    """Suffix of the output for a source of that suffix."""
    return suffix if suffix.lower() in encoders.FORMATS else WRITTEN_AS.get(suffix.lower(), ".png")


def _found(sources: Sequence[str], output: Path | None) -> dict[Path, Path]:
    """{file: its path relative to the output folder}."""
    found = {
        file: relative
        for text in sources
        for file, relative in _expanded(text, output)
        if _is_image(file.name) or Path(text).is_file()
    }
    if not found:
        supported = ", ".join(suffix.removeprefix(".") for suffix in photos.SUFFIXES)
        raise UserError(f"{', '.join(sources)}: no images found; supported: {supported}")
    return found


def _expanded(text: str, output: Path | None) -> Iterator[tuple[Path, Path]]:
    """(file, its path relative to the output folder) of a file, or of the visible files of a folder or pattern."""
    path = Path(text)
    if path.is_file():
        yield path, Path(path.name)
    elif path.is_dir():
        yield from ((file, file.relative_to(path)) for file in _below(path, output))
    elif any(sign in text for sign in GLOB):
        fixed = [*_until_glob(path.parts)]
        base = Path(*fixed)
        excluded = output.resolve() if output and base.resolve() in output.resolve().parents else None
        try:
            matches = sorted(base.glob(str(Path(*path.parts[len(fixed) :]))))
        except ValueError as error:  # such as **.png before Python 3.13
            raise UserError(f"{text}: {error}") from None
        for file in matches:
            if file.is_file() and not file.name.startswith(".") and excluded not in file.resolve().parents:
                yield file, file.relative_to(base)
    else:
        raise UserError(f"{text}: no such file or folder")


def _until_glob(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if any(sign in part for sign in GLOB):
            return
        yield part


def _below(folder: Path, output: Path | None) -> Iterator[Path]:
    """Visible files in a folder, sorted; links to folders are not followed."""
    excluded = output.resolve() if output else None
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and (Path(place) / n).resolve() != excluded)
        paths = (Path(place) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())  # no pipes


def _is_image(name: str) -> bool:
    return name.lower().endswith((*photos.SUFFIXES, *decoders.RAW_SUFFIXES))


def _check(planned: Sequence[Task]) -> None:
    sources: dict[Path, Path] = {}
    for task in planned:
        target = task.target.resolve()
        if target == task.source.resolve():
            raise UserError(f"{task.source}: would be overwritten by the output; choose another one")
        if target in sources:
            raise UserError(f"{sources[target]} and {task.source} would both be written to {task.target}")
        sources[target] = task.source


def _shifted(photo: photos.Photo, restored: np.ndarray) -> str:
    """The largest shift of brightness or colour, in words; empty if none counts."""
    shifted = None if photo.separate else tone.largest(photo.pixels, restored)
    return f"tones shifted: {shifted}" if shifted else ""
