"""Trials, their results and the settings of a campaign.

A family of faults is a module of this folder with `trials(settings) -> Iterator[Trial]`. Trials are independent: an
interrupted campaign resumes with those that have no row yet.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """Result of one or more faults of a kind. A good row has recovered == count and zeros in all other counts."""

    fault: str  # for example "SIGKILL to the stage only"
    stage: str  # target of the fault, usually a stage
    count: int = 1  # number of faults; 0: skipped for the reason in `message`
    recovered: int = 0  # faults after which outputs equalled those of an undisturbed run or one line named the error
    wrong: int = 0  # outputs that differ from those of an undisturbed run, or damaged input used without an error
    lost: int = 0  # MLflow runs that are missing, incomplete or left RUNNING
    leftovers: int = 0  # temporary files left, and partly written files accepted as complete
    message: str = ""  # message shown to the user, or failures


@dataclass(frozen=True)
class Settings:
    """Settings of a campaign."""

    seed: int
    kills: int  # number of kills by signal
    short: bool  # only a few trials of each family: about four minutes on two cores
    folder: Path  # for toy projects; deleted when the campaign ends

    def random(self, *key: str | int) -> random.Random:
        """A generator seeded by the key, so that no trial depends on another."""
        return random.Random("/".join(map(str, (self.seed, *key))))


@dataclass(frozen=True)
class Trial:
    """One fault to inject."""

    name: str  # unique in its family; the same name and seed give the same trial
    run: Callable[[], Row]
