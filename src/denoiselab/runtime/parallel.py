"""Per-image work over the cores of this machine or a Dask cluster, as the block `parallel` of params.yaml says.

What comes out does not depend on where it was done, so no stage names that block among its parameters.
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

AHEAD = 2  # items under way or waiting to be taken, for each core
PATIENCE = 30  # seconds, to reach a scheduler and for its first worker

Item = TypeVar("Item")
Result = TypeVar("Result")


class Parallel(Protocol):
    """Where per-image work is done: the block `parallel` of params.yaml is one."""

    @property
    def jobs(self) -> int:
        """Threads; -1: one for each core that this process may use."""
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
    """Threads of this process that work at the same time: with `jobs` -1 one for each core that it may use.

    torchrun's processes share `jobs` out, which are those of a machine, as pipeline.launcher does its cores.
    """
    from joblib import effective_n_jobs

    if settings.jobs == -1:
        return effective_n_jobs(-1)
    return max(1, settings.jobs // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def each(settings: Parallel, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of every item, in the order of the items.

    Items are drawn here, in the caller's thread, and at most AHEAD for each core before the first of them is taken:
    memory stays flat however slow the consumer is (joblib's generator waits for no consumer). torch and OpenCV compute
    each item in one thread. The workers of a cluster get the function once, pickled, and need the same files under the
    same absolute paths. ValueError where there is no cluster; what `function` raises is raised here.
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
    """Within it `joblib.Parallel` without arguments of its own works where `settings` say."""
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
    """What takes an item and returns its future, and how many items are worked on at the same time."""
    if settings.scheduler:
        with _connected(settings.scheduler) as client:
            sent = client.scatter(function, broadcast=True, hash=False)  # held to the end: workers forget it otherwise
            yield lambda item: client.submit(_alone, sent, item, pure=False), sum(client.ncores().values())
    else:
        width = cores(settings)
        with _threads_kept(), ThreadPoolExecutor(width) as pool:
            yield lambda item: pool.submit(_alone, function, item), width


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of the scheduler, which has a worker. ValueError where there is none."""
    import asyncio  # whose TimeoutError is neither an OSError nor the builtin one before Python 3.11

    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            "parallel.scheduler: needs Dask: `pip install -r requirements-scale.txt`, or null for this machine's cores"
        ) from None
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise UserError(f"parallel.scheduler: no Dask scheduler answers at {address} ({one_line(error)})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except (TimeoutError, asyncio.TimeoutError):
            raise UserError(f"parallel.scheduler: the Dask scheduler at {address} has no worker") from None
        yield client


def _alone(function: Callable[[Item], Result], item: Item) -> Result:
    """`function` of an item, in this thread alone."""
    for library in _threaded():
        if library.get_threads() != 1:
            library.set_threads(1)
    return function(item)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Leave the caller as many threads as it has. OpenCV has one number for all threads; torch has one for each, but
    those that have not computed yet get the number that was set last."""
    before = [(library, library.get_threads()) for library in _threaded()]
    try:
        yield
    finally:
        for library, number in before:
            library.set_threads(number)


class _Library(NamedTuple):
    """A library that computes in threads of its own."""

    get_threads: Callable[[], int]
    set_threads: Callable[[int], None]


def _threaded() -> list[_Library]:
    """Those that are loaded: what has not loaded them does not use them."""
    loaded = []
    if cv2 := sys.modules.get("cv2"):
        loaded.append(_Library(cv2.getNumThreads, cv2.setNumThreads))
    if torch := sys.modules.get("torch"):
        loaded.append(_Library(torch.get_num_threads, torch.set_num_threads))
    return loaded
