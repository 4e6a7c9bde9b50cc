"""The line of visitors whose pictures are waiting to be computed: one at a time, first come, first served."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

POLL_S = 0.5  # seconds after which one who waits is told the place again, or is noticed to have left


class Line:
    """For all threads of a process; at most `length` wait behind the one whose turn it is."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._tickets: deque[object] = deque()  # the first one's turn it is
        self._changed = Condition()

    @contextmanager
    def turn(self, waiting: Callable[[int], None]) -> Iterator[None]:
        """Wait for one's turn, and hold it. ValueError where the line is full.

        `waiting` is called with the number of those ahead while there are any; whatever it raises leaves the line.
        """
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
                raise ValueError(f"{self._length} pictures are waiting already; try it again in a minute")
            ticket = object()
            self._tickets.append(ticket)
            return ticket

    def _ahead(self, ticket: object) -> int:
        with self._changed:
            return self._tickets.index(ticket)
