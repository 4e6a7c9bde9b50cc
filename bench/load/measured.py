"""Measurements of a server under load, as rows and targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench._servers import Memory
from bench._show import Target
from bench.load import uploads
from bench.load.clients import DUE, LATER, WRONG, Answer
from denoiselab.app import memory
from denoiselab.app.denoisers import BYTES_PER_PIXEL, TILE

CRASH = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Measured:
    """Measurements of one server: answers, memory, whether it survived, and its output."""

    server: str
    answers: Sequence[Answer]
    memory: Memory
    bound: int  # bytes
    alive: bool
    output: str

    @property
    def wrong(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.verdict == WRONG]

    @property
    def crashes(self) -> int:
        """1 if the server exited, plus the number of tracebacks in its output."""
        return int(not self.alive) + self.output.count(CRASH)

    def rows(self) -> list[dict[str, Any]]:
        """One row per kind of request; times are those of correct answers."""
        return [_row(self.server, kind, self.answers) for kind in dict.fromkeys(a.kind for a in self.answers)]

    def targets(self) -> list[Target]:
        return [
            Target(f"{self.server}: crashes", self.crashes, 0),
            Target(f"{self.server}: wrong answers", len(self.wrong), 0),
            Target(f"{self.server}: memory", self.memory.highest / 2**20, round(self.bound / 2**20), "MiB"),
        ]


def most_bytes(idle: int, clients: int, each: int) -> int:
    """Memory limit of a server in bytes: `idle` memory, one tile of the model, processing of the largest image, and
    `each` bytes per client. It does not depend on the number of requests."""
    height, width = uploads.SHAPES[uploads.HUGE]
    return idle + TILE**2 * BYTES_PER_PIXEL + height * (width + clients) * memory.BYTES_PER_PIXEL + clients * each


def _row(server: str, kind: str, answers: Sequence[Answer]) -> dict[str, Any]:
    own = [answer for answer in answers if answer.kind == kind]
    count = {verdict: sum(answer.verdict == verdict for answer in own) for verdict in (DUE, LATER, WRONG)}
    seconds = [answer.seconds for answer in own if answer.verdict == DUE]
    median, most, worst = np.percentile(seconds, [50, 95, 100]).tolist() if seconds else (None, None, None)
    return {
        "server": server,
        "request": kind,
        "correct": count[DUE],
        "busy": count[LATER],
        "wrong": count[WRONG],
        "median s": median,
        "95 % s": most,
        "worst s": worst,
    }
