"""Means with bootstrap intervals, and tests of paired differences; images of one group (a scene) stay together."""

from dataclasses import dataclass

import numpy as np

BATCH = 50  # resamples at a time: bounds the memory, and what stays in the cache is several times faster


@dataclass(frozen=True)
class Interval:
    """A mean and its interval; low and high are NaN where one value gives none."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: np.ndarray, *, groups: np.ndarray | None = None, confidence: float, resamples: int, seed: int
) -> Interval:
    """Mean of (n,) values with its percentile bootstrap interval (Efron and Tibshirani, 1993), see mean_intervals."""
    return mean_intervals(values[None], groups=groups, confidence=confidence, resamples=resamples, seed=seed)[0]


def mean_intervals(
    values: np.ndarray, *, groups: np.ndarray | None = None, confidence: float, resamples: int, seed: int
) -> list[Interval]:
    """Mean of every row of (k, n) values with its percentile bootstrap interval, all rows on the same resamples.

    Images are resampled, or whole groups of them (`groups`, (n,) names; Davison and Hinkley, 1997, section 3.8). With
    few of them the interval is too narrow; the report says how many there are.
    """
    from scipy import stats  # takes longer to import than all else that stage compare needs

    means = values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)
    sums, counts = _by_group(values, groups)
    if len(counts) < 2:
        return [Interval(float(mean), float("nan"), float("nan")) for mean in means]
    alone = bool((counts == 1).all())  # every image is a group of its own
    found = stats.bootstrap(
        (sums,) if alone else (sums, np.broadcast_to(counts, sums.shape)),
        np.mean if alone else _ratio,
        paired=not alone,
        vectorized=True,
        axis=-1,
        batch=BATCH,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    finite = np.isfinite(values).all(axis=1)
    return [
        Interval(float(mean), float(low), float(high)) if whole else Interval(float(mean), float("nan"), float("nan"))
        for mean, low, high, whole in zip(means, found.low, found.high, finite, strict=True)
    ]


def wilcoxon(differences: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon, 1945) of (n,) paired differences, of groups by their means.

    Zeros are left out, as he did; 1 where all are zero.
    """
    from scipy import stats

    sums, counts = _by_group(differences[None], groups)
    means = (sums / counts)[0]
    return float(stats.wilcoxon(means[means != 0]).pvalue) if np.any(means) else 1.0


def smallest_p(differences: int, tests: int = 1) -> float:
    """The smallest p that the signed-rank test of so many differences can have, after Holm's correction for `tests`."""
    return min(tests * 2.0 ** (1 - differences), 1.0)


def holm(p: np.ndarray) -> np.ndarray:
    """(m,) p values, adjusted for m tests (Holm, 1979)."""
    order = np.argsort(p)
    steps = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * steps).clip(max=1)
    return adjusted


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))


def _by_group(values: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums (k, g) and counts (g,) of (k, n) values by group."""
    if groups is None or len({*groups}) == len(groups):
        return values, np.ones(values.shape[1])
    names, number = np.unique(groups, return_inverse=True)
    member = np.eye(len(names))[number]
    return values @ member, member.sum(axis=0)
