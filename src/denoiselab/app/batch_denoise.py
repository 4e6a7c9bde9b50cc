"""Denoise image files in parallel within bounded memory; errors are reported per file."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import psutil

from denoiselab.app import denoisers, photo_denoise, stack_denoise
from denoiselab.app.batch_plan import Task
from denoiselab.app.photo_denoise import Outcome, Settings
from denoiselab.imaging import photos, stacks

PIXEL_BYTES = 64  # memory of an image (as read, as float, restored, encoded) without the network's features
FAULTS = (ValueError, OSError, MemoryError, RuntimeError, cv2.error)  # RuntimeError: for example torch out of memory


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
        self.force = settings.force
        self.restorer = photo_denoise.Restorer(settings, jobs)
        self.memory = _Memory(psutil.virtual_memory().available // 2)

    def __call__(self, task: Task) -> Outcome:
        if task.target.exists() and not self.force:
            return Outcome(task, "there", reason=f"{task.target}: already exists")
        try:
            given = self.restorer.loaded.get(self.restorer.model)
            with self.memory.taken(_bytes(photos.size(task.source), given)), stacks.opened(task.source) as stack:
                if stack:
                    return stack_denoise.denoise(task, stack, self.restorer)
                return photo_denoise.denoise(task, self.restorer)
        except FAULTS as error:
            return Outcome(task, "failed", reason=failure(error, task.source, task.target))


def _bytes(pixels: int, denoiser: denoisers.Denoiser | None) -> int:
    """Memory needed to process an image; `denoiser` None: one to be chosen, in tiles or classical."""
    whole = denoiser.whole_bytes(pixels) if denoiser else pixels * denoisers.CLASSICAL_BYTES
    tile = 0 if denoiser and whole else min(pixels, denoisers.TILE**2) * denoisers.BYTES_PER_PIXEL
    return pixels * PIXEL_BYTES + max(whole, tile)


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
