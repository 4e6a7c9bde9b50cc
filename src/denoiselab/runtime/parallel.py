"""Parallel per-image work on this machine's cores or a Dask cluster (block `parallel` of params.yaml).

Results do not depend on where they are computed, so no stage of dvc.yaml depends on that block.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

AHEAD = 2  # submitted items per core
TIMEOUT_S = 30  # to reach a scheduler, and for its first worker

Item = TypeVar("Item")
Result = TypeVar("Result")


class Parallel(Protocol):
    """Settings of per-image work, such as the block `parallel` of params.yaml."""

    @property
    def jobs(self) -> int:
        """Number of threads; -1: one for each core available to this process."""
        ...

    @property
    def scheduler(self) -> str | None:
        """Address of a Dask scheduler; None: this machine."""
        ...


@dataclass(frozen=True)
class Local:
    """This machine."""

    jobs: int
    scheduler: None = None


SERIAL = Local(1)


def cores(settings: Parallel) -> int:
    """Number of threads for this process; `jobs` -1: one for each core available to it.

    Other values of `jobs` are per machine and divided among its torchrun processes.
    """
    from joblib import effective_n_jobs

    if settings.jobs == -1:
        return effective_n_jobs(-1)
    return max(1, settings.jobs // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def each(settings: Parallel, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply `function` to every item in parallel; results in the order of the items.

    `items` is iterated in the caller's thread, at most AHEAD items per core before the first result is consumed: memory
    stays bounded with a slow consumer (joblib's generator does not wait for its consumer). torch and OpenCV use one
    thread per item. Workers of a cluster receive the function once, pickled, and need the same files at the same
    absolute paths. UserError without a reachable cluster; exceptions of `function` are raised here.
    """
    with _submitter(settings, function) as (submit, width):
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(submit(item))
                if len(waiting) >= AHEAD * width:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def joblib_backend(settings: Parallel) -> Iterator[None]:
    """Make `joblib.Parallel` without arguments use `settings` inside the block."""
    from joblib import parallel_config

    with ExitStack() as stack:
        if settings.scheduler:
            backend = parallel_config("dask", client=stack.enter_context(_connected(settings.scheduler)))
        else:
            backend = parallel_config("threading", n_jobs=cores(settings))
        stack.enter_context(backend)
        yield


@contextmanager
def _submitter(settings: Parallel, function: Callable[[Any], Any]) -> Iterator[tuple[Callable[[Any], Any], int]]:
    """A function that submits an item and returns its future, and the number of parallel workers."""
    if settings.scheduler:
        with _connected(settings.scheduler) as client:
            sent = client.scatter(function, broadcast=True, hash=False)  # keep the reference: otherwise workers drop it
            yield lambda item: client.submit(_single_threaded, sent, item, pure=False), sum(client.ncores().values())
    else:
        width = cores(settings)
        with _threads_kept(), ThreadPoolExecutor(width) as pool:
            yield lambda item: pool.submit(_single_threaded, function, item), width


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Client of a scheduler that has at least one worker; UserError otherwise."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            "parallel.scheduler: needs Dask: `pip install -r requirements/scale.txt`, or set null to use this machine"
        ) from None
    try:
        client = Client(address, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"parallel.scheduler: no Dask scheduler answers at {address} ({one_line(error)})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT_S)
        except TimeoutError:
            raise UserError(f"parallel.scheduler: the Dask scheduler at {address} has no worker") from None
        yield client


def _single_threaded(function: Callable[[Item], Result], item: Item) -> Result:
    """`function(item)` with torch and OpenCV restricted to one thread."""
    for library in _threaded():
        if library.get_threads() != 1:
            library.set_threads(1)
    return function(item)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Restore the thread counts at the end: OpenCV's setting is global, torch's last one applies to new threads."""
    before = [(library, library.get_threads()) for library in _threaded()]
    try:
        yield
    finally:
        for library, number in before:
            library.set_threads(number)


class _Library(NamedTuple):
    """A library with its own thread pool."""

    get_threads: Callable[[], int]
    set_threads: Callable[[int], None]


def _threaded() -> list[_Library]:
    """The libraries among OpenCV and torch that are imported."""
    loaded = []
    if cv2 := sys.modules.get("cv2"):
        loaded.append(_Library(cv2.getNumThreads, cv2.setNumThreads))
    if torch := sys.modules.get("torch"):
        loaded.append(_Library(torch.get_num_threads, torch.set_num_threads))
    return loaded
