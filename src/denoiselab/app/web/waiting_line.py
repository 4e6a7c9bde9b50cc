"""Queue of visitors: one computation at a time, first come, first served.

A single thread does all computations, because each further thread would hold memory and torch threads of its own.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

from denoiselab.runtime.errors import BusyError

POLL_S = 0.5  # seconds between progress updates; visitors who have left are noticed then
T = TypeVar("T")
Tell = Callable[[str], None]


class Line:
    """Queue for all threads of a process; at most `length` wait behind the current one."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._tickets: deque[object] = deque()  # the first one is being served
        self._changed = Condition()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="denoiselab-page")

    def do(self, job: Callable[[Tell], T], waiting: Callable[[int], None], tell: Tell) -> T:
        """Run `job` when its turn comes and return its result. BusyError if the queue is full.

        `waiting` is called with the number of visitors ahead, then `tell` with the job's current step, both in the
        calling thread. An exception raised there leaves the queue and ends the job at its next step.
        """
        with self._turn(waiting):
            steps: list[str] = []
            left = False

            def step(text: str) -> None:
                if left:
                    raise InterruptedError("the visitor has left")
                steps.append(text)

            future = self._worker.submit(job, step)
            try:
                while wait_for([future], POLL_S).not_done:
                    tell(steps[-1] if steps else "")
            finally:
                left = True
            return future.result()

    @contextmanager
    def _turn(self, waiting: Callable[[int], None]) -> Iterator[None]:
        ticket = self._join()
        try:
            while ahead := self._ahead(ticket):
                waiting(ahead)
                with self._changed:
                    self._changed.wait_for(lambda seen=ahead: self._ahead(ticket) < seen, POLL_S)  # type: ignore[misc]
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def _join(self) -> object:
        with self._changed:
            if len(self._tickets) > self._length:
                raise BusyError(f"{self._length} images are waiting already; try again in a minute")
            ticket = object()
            self._tickets.append(ticket)
            return ticket

    def _ahead(self, ticket: object) -> int:
        with self._changed:
            return self._tickets.index(ticket)
