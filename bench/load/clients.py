"""Simultaneous clients of a server, and the verdicts on the answers they get."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.load.uploads import HUGE

DUE = "due"  # the correct answer: the restored image, or the right error message
LATER = "later"  # the server reports that it is busy
WRONG = "wrong"
THINK_S = (0.5, 3.0)  # pause between an answer and the next request
TIMEOUT_S = 300.0  # of a request


class UnansweredError(Exception):
    """A request failed. The reason is in the client's answers; the client starts again."""


@dataclass(frozen=True)
class Answer:
    """Verdict on the answer to a request."""

    kind: str  # of the upload
    seconds: float
    verdict: str
    said: str  # reason for the verdict


@dataclass
class Client:
    """Client number `number`, which sends requests until `end` (on the clock time.monotonic), and its answers."""

    number: int
    end: float
    weights: dict[str, int]  # relative frequency of each kind of upload
    answers: list[Answer] = field(default_factory=list)
    turn: int = 0

    def turns(self) -> Iterator[tuple[int, str]]:
        """Yield number and kind of each upload; the first client starts with a huge image."""
        while time.monotonic() < self.end:
            draw = random.Random(f"client {self.number}, turn {self.turn}")
            kind = draw.choices([*self.weights], [*self.weights.values()])[0]
            yield self.turn, kind if (self.number, self.turn) != (0, 0) else HUGE
            self.turn += 1
            time.sleep(draw.uniform(*THINK_S))

    @contextmanager
    def request(self, kind: str) -> Iterator[Callable[[str, str], None]]:
        """Time a request. Yields judge(verdict, said), whose last call counts. An exception counts as a wrong answer
        and is re-raised as UnansweredError."""
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
    """Run `live` for `number` clients in parallel threads for so many seconds. Returns all their answers."""
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
