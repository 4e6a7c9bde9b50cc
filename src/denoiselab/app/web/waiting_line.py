"""The line of visitors whose pictures are waiting to be computed: one at a time, first come, first served.

All are computed by one thread: each new one would keep memory and a team of torch's threads of its own.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

from denoiselab.runtime.errors import BusyError

POLL_S = 0.5  # seconds after which a visitor is told anew how it stands, or is noticed to have left
T = TypeVar("T")
Tell = Callable[[str], None]


class Line:
    """For all threads of a process; at most `length` wait behind the one whose turn it is."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._tickets: deque[object] = deque()  # the first one's turn it is
        self._changed = Condition()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="denoiselab-page")

    def do(self, job: Callable[[Tell], T], waiting: Callable[[int], None], tell: Tell) -> T:
        """What `job` returns, in its turn. BusyError where the line is full.

        `waiting` is called with the number of those ahead while there are any, `tell` with the step that the job says
        it is at, both in the calling thread; what they raise leaves the line and ends the job at its next step.
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
                raise BusyError(f"{self._length} pictures are waiting already; try it again in a minute")
            ticket = object()
            self._tickets.append(ticket)
            return ticket

    def _ahead(self, ticket: object) -> int:
        with self._changed:
            return self._tickets.index(ticket)
