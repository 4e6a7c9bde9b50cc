"""Picture files denoised into picture files: which go where, many side by side in bounded memory, errors kept apart."""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import psutil

from denoiselab.app import denoisers
from denoiselab.imaging import photos
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError

AUTO = "auto"
PIXEL_BYTES = 64  # of a picture under way, the net's features aside: as read, as float, restored, encoded
GLOB = "*?["
FAULTS = (ValueError, OSError, MemoryError, RuntimeError, cv2.error)  # RuntimeError: torch has no memory left, say


@dataclass(frozen=True)
class Task:
    """A picture and where its denoised one goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Settings:
    """How pictures are denoised."""

    model: str = AUTO  # as denoisers.load takes it; auto: chosen for each picture
    sigma_255: float | None = None  # None: estimated where it is of use
    white: float | None = None  # the files' value that is white; None: by their depth
    device: str = "auto"
    tile: int | None = None  # pixels
    force: bool = False  # overwrite


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    task: Task
    status: str  # denoised, clean (written as it was), there (skipped) or failed
    model: str = ""
    reason: str = ""  # of the choice, or of the failure
    level_unused: bool = False  # a noise level was given, of which the model makes no use


def tasks(sources: Sequence[str], output: str) -> list[Task]:
    """What files, folders and glob patterns give, in order; each once.

    A folder keeps its structure below `output`; hidden files and whatever already lies in an `output` below the folder,
    or below what comes before a pattern's first sign, are left out. A single file goes to the file `output`, unless
    that is a folder, ends in a slash or has no suffix. ValueError where there is nothing, where several would go to a
    file, where two would go to the same place or one onto itself.
    """
    found = _found(sources, Path(output))
    place = Path(output)
    single = len(sources) == 1 and Path(sources[0]).is_file()
    if single and not (place.is_dir() or output.endswith(("/", os.sep)) or not place.suffix):
        planned = [Task(next(iter(found)), place)]
    elif place.is_file():
        raise UserError(f"{output}: is a file; several pictures need a folder to go to")
    else:
        planned = [Task(source, place / relative) for source, relative in found.items()]
    _check(planned)
    return planned


def pictures(sources: Sequence[str]) -> list[Path]:
    """The files of files, folders and glob patterns. ValueError where there is nothing."""
    return list(_found(sources, None))


def passed_over(sources: Sequence[str], output: str) -> int:
    """How many files of the folders and glob patterns are none of `tasks`, since their names are not pictures'."""
    files = {file for text in sources for file, _ in _expanded(text, Path(output)) if not Path(text).is_file()}
    return sum(not _is_picture(file.name) for file in files)


def run(planned: Sequence[Task], settings: Settings) -> Iterator[Outcome]:
    """Do the tasks, and say of each what became of it, in order; an error in one does not stop the others.

    Where there are enough of them each core takes a picture of its own, else they come one after another, on all
    cores. An output that is there is complete, since it is written under another name first: it is skipped unless
    `settings.force`.
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
    """One of FAULTS in a line with the picture's name."""
    from denoiselab.runtime import devices

    if devices.ran_out(error):
        return f"{source}: too little memory for it; a smaller picture needs less"
    reason = str(error) or type(error).__name__
    named = str(source) in reason or (target is not None and str(target) in reason)
    return reason if named else f"{source}: {reason}"


class _Worker:
    """Does one task. Called by several threads."""

    def __init__(self, settings: Settings, jobs: int):
        from denoiselab.runtime import devices

        on_gpu = devices.choose(settings.device, "--device").type == "cuda"
        self.settings = settings
        self.jobs = 1 if on_gpu else jobs  # of which each takes its share of memory; on a GPU they take turns
        self.memory = _Memory(psutil.virtual_memory().available // 2)
        self.turn: AbstractContextManager = threading.Lock() if on_gpu else nullcontext()
        self.loading = threading.Lock()
        self.loaded: dict[str, denoisers.Denoiser] = {}
        if settings.model != AUTO:  # a wrong name is told before anything else
            self.loaded[settings.model] = denoisers.load(settings.model)

    def __call__(self, task: Task) -> Outcome:
        if task.target.exists() and not self.settings.force:
            return Outcome(task, "there", reason=f"{task.target}: is there already")
        try:
            with self.memory.taken(_bytes(photos.size(task.source), self.loaded.get(self.settings.model))):
                return self._denoised(task)
        except FAULTS as error:
            return Outcome(task, "failed", reason=failure(error, task.source, task.target))

    def _denoised(self, task: Task) -> Outcome:
        settings = self.settings
        photo = photos.read(task.source, white=settings.white)
        photos.check(photo, task.target.suffix)
        name, reason = settings.model, ""
        if name == AUTO:
            noise = denoisers.estimate(photo.pixels)
            if noise.kind == "clean" and settings.sigma_255 is not None:
                noise = replace(noise, kind="gaussian", reason=f"noise of level {settings.sigma_255:g} of 255 as given")
            name, reason = denoisers.choose(noise, photo.pixels.shape[2])
            if noise.kind == "clean":
                _keep(task, photo)
                return Outcome(task, "clean", reason=reason)
        denoiser = self._denoiser(name)
        with self.turn:
            restored = denoiser.restore(
                photo.pixels,
                sigma_255=settings.sigma_255,
                device=settings.device,
                tile=settings.tile,
                jobs=self.jobs,
            )
        photos.write(task.target, photo, restored)
        unused = settings.sigma_255 is not None and not denoiser.takes_level(photo.pixels.shape[2])
        return Outcome(task, "denoised", name, reason, unused)

    def _denoiser(self, name: str) -> denoisers.Denoiser:
        with self.loading:
            if name not in self.loaded:
                self.loaded[name] = denoisers.load(name)
            return self.loaded[name]


def _bytes(pixels: int, denoiser: denoisers.Denoiser | None) -> int:
    """That a picture takes while it is under way; None: one that is chosen for it, which is taken in tiles."""
    whole = denoiser.whole_bytes(pixels) if denoiser else 0
    return pixels * PIXEL_BYTES + (whole or min(pixels, denoisers.TILE**2) * denoisers.BYTES_PER_PIXEL)


class _Memory:
    """So many bytes, of which each picture takes what it needs; one that needs more than that waits to be alone."""

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


def _keep(task: Task, photo: photos.Photo) -> None:
    """The picture as it is; the file itself where the kinds are the same."""
    if task.source.suffix.lower() != task.target.suffix.lower():
        photos.write(task.target, photo, photo.pixels)
        return
    with files.replacing(task.target) as temporary:
        shutil.copyfile(task.source, temporary)


def _found(sources: Sequence[str], output: Path | None) -> dict[Path, Path]:
    """{file: its place below the output}."""
    found = {
        file: relative
        for text in sources
        for file, relative in _expanded(text, output)
        if _is_picture(file.name) or Path(text).is_file()
    }
    if not found:
        raise UserError(f"{', '.join(sources)}: no pictures there ({', '.join(s[1:] for s in photos.SUFFIXES)})")
    return found


def _expanded(text: str, output: Path | None) -> Iterator[tuple[Path, Path]]:
    """(file, its place below the output) of a file, or of all that are not hidden in a folder or a pattern."""
    path = Path(text)
    if path.is_file():
        yield path, Path(path.name)
    elif path.is_dir():
        yield from ((file, file.relative_to(path)) for file in _below(path, output))
    elif any(sign in text for sign in GLOB):
        fixed = [*_until_glob(path.parts)]
        base = Path(*fixed)
        made = output.resolve() if output and base.resolve() in output.resolve().parents else None
        for file in sorted(base.glob(str(Path(*path.parts[len(fixed) :])))):
            if file.is_file() and not file.name.startswith(".") and made not in file.resolve().parents:
                yield file, file.relative_to(base)
    else:
        raise UserError(f"{text}: there is no such file, folder or pattern")


def _until_glob(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if any(sign in part for sign in GLOB):
            return
        yield part


def _below(folder: Path, output: Path | None) -> Iterator[Path]:
    """Files in a folder, sorted, without hidden ones; links to folders are not followed."""
    left_out = output.resolve() if output else None
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and (Path(place) / n).resolve() != left_out)
        paths = (Path(place) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())  # not a pipe


def _is_picture(name: str) -> bool:
    return name.lower().endswith(photos.SUFFIXES)


def _check(planned: Sequence[Task]) -> None:
    sources: dict[Path, Path] = {}
    for task in planned:
        target = task.target.resolve()
        if target == task.source.resolve():
            raise UserError(f"{task.source}: would be overwritten by its denoised picture; name another output")
        if target in sources:
            raise UserError(f"{sources[target]} and {task.source} would both become {task.target}")
        sources[target] = task.source
