"""Paired differences between models, image by image, with interval and test."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from denoiselab.comparison.aggregate import by_image, groups_of, intervals
from denoiselab.comparison.bootstrap import Interval, holm, smallest_p, wilcoxon
from denoiselab.config import Params

WHERE, VERDICT = ("set", "condition", "better", "worse"), ("wins", "n_images", "p_holm", "verdict")


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
    seeds_overlap: bool  # whether a training run of `worse` scores above one of `better`

    def verdict(self, level: float) -> str:
        """At significance level `level`: "better", "level" (no significant difference) or "few" (too few images)."""
        if smallest_p(self.groups, self.tests) >= level:
            return "few"
        significant = self.interval.low > 0 and self.p < level and not self.seeds_overlap
        return "better" if significant else "level"


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
        scored = here[here[score].notna()]
        models = [m for m in dict.fromkeys(scored.model) if params.models[m].arch != "identity"]
        result[str(key[0]), str(key[1])] = pairs(here, models, params, score) if len(models) > 1 else []
    return result


def table(found: Pairs, params: Params, score: str = "psnr") -> pd.DataFrame:
    """reports/pairs.csv: one row per pair, test set and condition."""
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
                    "n_images": one.images,
                    "p_holm": one.p,
                    "verdict": one.verdict(1 - params.evaluate.confidence),
                }
            )
    return pd.DataFrame(result, columns=[*WHERE, name, f"{name}_low", f"{name}_high", *VERDICT])


def seeds_overlap(one: pd.Series, other: pd.Series) -> bool:
    """Whether the ranges of two models' mean scores by seed overlap; False if neither has several seeds."""
    return bool(max(len(one), len(other)) > 1 and one.min() <= other.max() and other.min() <= one.max())


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
        overlap = seeds_overlap(seeds[a].dropna(), seeds[b].dropna())
        result.append(Difference(a, b, interval, int((own > 0).sum()), len(own), len({*scenes}), p, 1, overlap))
    return result
