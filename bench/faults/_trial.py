"""What a family of faults is made of.

A family is a module of this folder with `trials(settings) -> Iterator[Trial]`. Trials are independent of each other:
an interrupted campaign goes on with those that have no row yet.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What became of one or more faults of a kind. All is well where every one was recovered and all else is 0."""

    fault: str  # what was done, e.g. "SIGKILL of the stage"
    stage: str  # to which stage, or to what else, e.g. "train"
    count: int = 1  # how many times it was done; 0: not at all, and `message` says why
    recovered: int = 0  # times after which all was as in an undisturbed run, or the error was named in one line
    wrong: int = 0  # outputs with other bytes than those of an undisturbed run, or damage used without a word
    lost: int = 0  # MLflow runs that are missing, incomplete or left RUNNING
    leftovers: int = 0  # temporary files left, and half-written ones taken for whole
    message: str = ""  # what was said to the user, or what went wrong


@dataclass(frozen=True)
class Settings:
    """Of a campaign."""

    seed: int
    kills: int  # by signal
    short: bool  # a few trials of each family, in some four minutes on two cores
    folder: Path  # for toy projects; it goes when the campaign ends

    def random(self, *key: str | int) -> random.Random:
        """Its own for every key, so that no trial depends on another."""
        return random.Random("/".join(map(str, (self.seed, *key))))


@dataclass(frozen=True)
class Trial:
    """One fault to provoke."""

    name: str  # alone in its family; with the same seed it is the same trial
    run: Callable[[], Row]
