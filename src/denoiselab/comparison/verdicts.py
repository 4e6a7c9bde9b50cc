"""When a measured difference is a verdict: the network that lost has flattened, and the gap exceeds the seeds' spread.

A network that still improves may catch up with more training, so "A is better than B" needs a flat B; a better A would
only widen the gap.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

GAIN_DB = 0.1  # smaller gains in the last fifth of the steps count as flat
HELD_OUT_GAIN_DB = 0.01  # of blind-spot prediction, whose error is mostly the noise of the hidden pixels
VALIDATIONS = 5  # minimum number to tell
SEEDS = 3  # minimum number: equal networks differ by more than the range of two seeds in 21 % of cases, of three in 5 %


@dataclass(frozen=True)
class Training:
    """The training runs of a network: `gains` has one value per seed, see last_gain."""

    gains: tuple[float, ...]
    limit: float = GAIN_DB  # below which a gain counts as flat, in dB

    @property
    def gain(self) -> float:
        """The largest gain of its runs, in dB; NaN if one of them has too few validations."""
        return max(self.gains, key=lambda gain: math.inf if math.isnan(gain) else gain)

    @property
    def digits(self) -> int:
        """Decimals of a gain in sentences."""
        return 2 if self.limit == GAIN_DB else 3

    @property
    def flat(self) -> bool:
        """Whether all runs have flattened."""
        return self.gain < self.limit


Trainings = Mapping[str, Training]  # of the networks trained here; other models do not change with more training


def training(history: pd.DataFrame) -> Training:
    """From reports/train/<model>.csv: one row per seed and validation. PSNR, or if unknown the first score."""
    scores = [column for column in history if column.startswith("val_")]
    score = "val_psnr" if "val_psnr" in scores else scores[0]
    gains = tuple(last_gain(own.step, own[score]) for _, own in history.groupby("seed", sort=False))
    return Training(gains, HELD_OUT_GAIN_DB if score == "val_held_out" else GAIN_DB)


def last_gain(steps: pd.Series, scores: pd.Series) -> float:
    """Best score (dB) of a run minus the best of its first 80 % of steps; NaN with too few validations to tell."""
    early = scores[5 * steps <= 4 * steps.max()]
    return float(scores.max() - early.max()) if len(scores) >= VALIDATIONS and len(early) else math.nan


def unsettled(name: str, trainings: Trainings) -> list[str]:
    """Why more training may still change a model; empty if it has flattened or is not trained."""
    if name not in trainings or trainings[name].flat:
        return []
    if math.isnan(gain := trainings[name].gain):
        return [f"too few validations to tell whether {name} has flattened"]
    return [f"{name} still gained {gain:.{trainings[name].digits}f} dB in the last fifth of its training"]


def within_seeds(gap: float, spread: float, names: tuple[str, str], trainings: Trainings) -> list[str]:
    """Why other training seeds may change a gap; `spread`: the larger range of the two models' means by seed."""
    seeds = min((len(trainings[name].gains) for name in names if name in trainings), default=SEEDS)
    if seeds < SEEDS:
        return ["one training seed" if seeds == 1 else "two training seeds are too few"]
    return [] if abs(gap) > spread else ["training seeds differ as much"]
