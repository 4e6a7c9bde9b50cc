"""Paired differences between models, image by image, with interval and test."""

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from denoiselab.comparison import sample_size
from denoiselab.comparison.aggregate import by_image, groups_of, incomplete, intervals
from denoiselab.comparison.bootstrap import Interval, holm, smallest_p, wilcoxon
from denoiselab.comparison.verdicts import Trainings, unsettled, within_seeds
from denoiselab.config import Params

WHERE, VERDICT = ("set", "condition", "better", "worse"), ("wins", "n_images", "n_needed", "p_holm", "verdict")


@dataclass(frozen=True)
class Difference:
    """Score of `better` minus score of `worse`, by image."""

    better: str
    worse: str
    interval: Interval
    wins: int  # images on which `better` is better
    images: int
    groups: int  # independent groups of images; equals `images` if all are independent
    p: float  # of the signed-rank test, Holm-corrected for `tests` tests
    tests: int
    spread: float  # the larger range of the two models' mean scores over training seeds; 0 for one seed
    deviation: float = math.nan  # standard deviation of the difference over images, or over means of groups
    ties: int = 0  # groups whose mean difference is 0, which the test leaves out

    def testable(self, level: float) -> bool:
        """Whether there are enough images for a significant test."""
        return smallest_p(self.groups - self.ties, self.tests) < level

    def significant(self, level: float) -> bool:
        """Whether the difference would hold on other images: by the interval and the test."""
        return self.testable(level) and self.interval.low > 0 and self.p < level

    def needed(self, level: float) -> int | None:
        """Images (or groups) to find a difference like this one significant, see sample_size.images."""
        return sample_size.images(self.interval.mean, self.deviation, level=level, tests=self.tests)

    def doubts(self, level: float, trainings: Trainings) -> list[str]:
        """Why it cannot be said that `better` is better; empty if it can."""
        found = []
        if not self.testable(level):
            unit = "image" if self.groups == self.images else "scene"
            few = f"{self.groups} {unit}s" if self.groups != 1 else f"one {unit}"
            few += f", {self.ties} of them with equal scores," if self.ties else ""
            what = f"{self.tests} pairs" if self.tests > 1 else "the difference"
            found = [f"{few} {'are' if self.groups != 1 else 'is'} too few to test {what}"]
        elif not self.significant(level):
            found = [f"the difference from {self.worse} is not significant"]
        return found + self.training_doubts(trainings)

    def training_doubts(self, trainings: Trainings) -> list[str]:
        """Why other seeds or more training may change which is better."""
        seeds = within_seeds(self.interval.mean, self.spread, (self.better, self.worse), trainings)
        return seeds + unsettled(self.worse, trainings)

    def equality(self, margin: float, level: float, trainings: Trainings) -> tuple[bool, list[str]]:
        """Whether the two differ by less than `margin` (dB), and why this cannot be said: empty if it can."""
        if smallest_p(self.groups) >= level:
            return False, [f"{self.groups} images are too few"]
        equal = -margin < self.interval.low and self.interval.high < margin
        apart = self.interval.low > margin or self.interval.high < -margin
        found = [] if equal or apart else [f"the interval reaches across ±{margin:g} dB"]
        names = self.better, self.worse
        distance = abs(abs(self.interval.mean) - margin) if equal or apart else math.inf
        seeds = within_seeds(distance, self.spread, names, trainings)
        return equal, [*found, *seeds, *(reason for name in names for reason in unsettled(name, trainings))]

    def verdict(self, level: float, trainings: Trainings) -> str:
        """ "better", or why there is no verdict: "few" images, "level" (not significant), "undecided" (training)."""
        if not self.testable(level):
            return "few"
        if not self.significant(level):
            return "level"
        return "undecided" if self.doubts(level, trainings) else "better"


Pairs = dict[tuple[str, str], list[Difference]]  # by set and condition


def difference(here: pd.DataFrame, better: str, worse: str, params: Params, score: str = "psnr") -> Difference:
    """Paired difference of two models; `here`: the rows of one test set and condition. p is not corrected."""
    return _pairs(here, [(better, worse)], params, score)[0]


def pairs(here: pd.DataFrame, models: list[str], params: Params, score: str = "psnr") -> list[Difference]:
    """Paired differences of all pairs of `models`, with Holm-corrected p."""
    means = by_image(here, score).mean()
    ranked = sorted(models, key=lambda model: -means[model])
    found = _pairs(here, list(combinations(ranked, 2)), params, score)
    found = [difference(here, one.worse, one.better, params, score) if one.interval.mean < 0 else one for one in found]
    adjusted = holm(np.array([one.p for one in found]))
    return [replace(one, p=float(p), tests=len(found)) for one, p in zip(found, adjusted, strict=True)]


def all_pairs(rows: pd.DataFrame, params: Params, score: str = "psnr") -> Pairs:
    """The pairs of all models except the noisy input, by test set and condition."""
    result: Pairs = {}
    for key, here in rows.groupby(["set", "condition"], sort=False):
        scored, broken = here[here[score].notna()], incomplete(here, score)
        models = [m for m in dict.fromkeys(scored.model) if params.models[m].arch != "identity" and m not in broken]
        result[str(key[0]), str(key[1])] = pairs(here, models, params, score) if len(models) > 1 else []
    return result


def table(found: Pairs, params: Params, trainings: Trainings, score: str = "psnr") -> pd.DataFrame:
    """reports/pairs.csv: one row per pair, test set and condition. `n_needed`: see Difference.needed."""
    result, name = [], f"{score}_difference"
    for (set_name, condition), here in found.items():
        for one in here:
            result.append(
                {
                    "set": set_name,
                    "condition": condition,
                    "better": one.better,
                    "worse": one.worse,
                    name: one.interval.mean,
                    f"{name}_low": one.interval.low,
                    f"{name}_high": one.interval.high,
                    "wins": one.wins,
                    f"{name}_sd": one.deviation,
                    "n_images": one.images,
                    "n_needed": one.needed(1 - params.evaluate.confidence),
                    "p_holm": one.p,
                    "verdict": one.verdict(1 - params.evaluate.confidence, trainings),
                }
            )
    columns = [*WHERE, name, f"{name}_low", f"{name}_high", f"{name}_sd", *VERDICT]
    return pd.DataFrame(result, columns=columns).astype({"n_needed": "Int64"})


def seed_spread(*means: pd.Series) -> float:
    """The largest range of models' mean scores by seed."""
    return max(float(own.max() - own.min()) if own.nunique() > 1 else 0.0 for own in means)


def _pairs(here: pd.DataFrame, names: list[tuple[str, str]], params: Params, score: str) -> list[Difference]:
    """Paired differences of the pairs `names`, in order, over the images for which both models have a score."""
    table = by_image(here, score)
    groups = groups_of(here, table.index)
    seeds = here.groupby(["seed", "model"])[score].mean().unstack("model")
    values = np.array([table[a] - table[b] for a, b in names])
    result = []
    for (a, b), own, interval in zip(names, values, intervals(values, groups, params), strict=True):
        known = np.isfinite(own)
        own, scenes = own[known], groups[known]
        p = wilcoxon(own, scenes) if len(own) else float("nan")
        means = pd.Series(own).groupby(scenes).mean()
        spread, deviation = seed_spread(seeds[a], seeds[b]), float(means.std())
        wins, ties = int((own > 0).sum()), int((means == 0).sum())
        result.append(Difference(a, b, interval, wins, len(own), len(means), p, 1, spread, deviation, ties))
    return result
