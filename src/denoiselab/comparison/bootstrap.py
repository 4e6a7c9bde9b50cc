"""Bootstrap intervals of means, and tests of paired differences, by image or by group of images (scene)."""

from dataclasses import dataclass

import numpy as np

BATCH = 50  # resamples at a time: limits memory, and fits the cache, which is several times faster


@dataclass(frozen=True)
class Interval:
    """A mean and its interval; `low` and `high` are NaN for a single value."""

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
    """Mean of every row of (k, n) values with its percentile bootstrap interval; all rows share the resamples.

    Resamples images, or whole groups (`groups`: (n,) names; Davison and Hinkley, 1997, section 3.8). With few images
    or groups the intervals are too narrow.
    """
    from scipy import stats  # slow to import

    means = values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)
    sums, counts = _by_group(values, groups)
    if len(counts) < 2:
        return [Interval(float(mean), float("nan"), float("nan")) for mean in means]
    alone = bool((counts == 1).all())  # every image is its own group
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
    """Two-sided p value of the signed-rank test (Wilcoxon, 1945) of (n,) paired differences, or of their group means.

    Zeros are left out, as in the original test; 1 if all are zero.
    """
    from scipy import stats

    sums, counts = _by_group(differences[None], groups)
    means = (sums / counts)[0]
    return float(stats.wilcoxon(means[means != 0]).pvalue) if np.any(means) else 1.0


def smallest_p(differences: int, tests: int = 1) -> float:
    """The smallest p value that the signed-rank test of n differences can have, Holm-corrected for `tests` tests."""
    return min(tests * 2.0 ** (1 - differences), 1.0)


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust (m,) p values for m tests (Holm, 1979)."""
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
