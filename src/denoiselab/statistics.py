"""Means with bootstrap intervals over images."""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean and its interval; low and high are NaN where one value gives none."""

    mean: float
    low: float
    high: float


def mean_interval(values: np.ndarray, *, confidence: float, resamples: int, seed: int) -> Interval:
    """Mean of (n,) values with its percentile bootstrap interval, resampling images (Efron and Tibshirani, 1993).

    With few images the interval is too narrow; the report says how many there are.
    """
    mean = float(np.mean(values)) if len(values) else float("nan")
    if len(values) < 2 or not np.isfinite(values).all():
        return Interval(mean, float("nan"), float("nan"))
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    found = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))
