"""Clients who ask a server for a while, all at once, and what became of what they asked."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.load.uploads import HUGE

DUE = "due"  # the right answer: the picture, or why there is none
LATER = "later"  # the server has too much to do, and says so
WRONG = "wrong"
THINK_S = (0.5, 3.0)  # between an answer and the next request
PATIENCE_S = 300.0  # with an answer


class UnansweredError(Exception):
    """A request: its reason is in the log, and its client begins anew."""


@dataclass(frozen=True)
class Answer:
    """To a request."""

    kind: str
    seconds: float
    verdict: str
    said: str  # where it is wrong


@dataclass
class Client:
    """Number `number` of those that ask a server until `end` (of time.monotonic), and what it was answered."""

    number: int
    end: float
    weights: dict[str, int]  # how often it sends each kind of upload
    answers: list[Answer] = field(default_factory=list)
    turn: int = 0

    def turns(self) -> Iterator[tuple[int, str]]:
        """Number and kind of one upload after another; the very first client begins with a huge one."""
        while time.monotonic() < self.end:
            draw = random.Random(f"client {self.number}, turn {self.turn}")
            kind = draw.choices([*self.weights], [*self.weights.values()])[0]
            yield self.turn, kind if (self.number, self.turn) != (0, 0) else HUGE
            self.turn += 1
            time.sleep(draw.uniform(*THINK_S))

    @contextmanager
    def request(self, kind: str) -> Iterator[Callable[[str, str], None]]:
        """Time a request; yields judge(verdict, said), whose last call counts. What is raised is a wrong answer, and
        comes out as UnansweredError."""
        started, found = time.perf_counter(), (WRONG, "no verdict")

        def judge(verdict: str, said: str = "") -> None:
            nonlocal found
            found = verdict, said

        try:
            yield judge
        except Exception as error:
            judge(WRONG, f"{type(error).__name__}: {error}")
            raise UnansweredError from error
        finally:
            self.answers.append(Answer(kind, time.perf_counter() - started, *found))


def at_once(number: int, seconds: float, weights: dict[str, int], live: Callable[[Client], None]) -> list[Answer]:
    """What so many clients were answered within so many seconds, each living as `live` says, in a thread of its own."""
    end = time.monotonic() + seconds
    clients = [Client(n, end, weights) for n in range(number)]
    with ThreadPoolExecutor(number) as threads:
        for _ in threads.map(lambda client: _lived(client, live), clients):
            pass
    return [answer for client in clients for answer in client.answers]


def _lived(client: Client, live: Callable[[Client], None]) -> None:
    while time.monotonic() < client.end:
        try:
            live(client)
        except UnansweredError:
            client.turn += 1
            time.sleep(THINK_S[0])
