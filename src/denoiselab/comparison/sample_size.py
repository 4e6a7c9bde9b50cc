"""How many images, or training seeds, it takes to tell two models apart."""

import math

from denoiselab.comparison.bootstrap import smallest_p

POWER = 0.8
EFFICIENCY = 3 / math.pi  # of the signed-rank test relative to the t test (Hodges and Lehmann, 1956), normal values
MOST = 10**6


def images(difference: float, deviation: float, *, level: float, tests: int = 1) -> int | None:
    """Independent images (or groups) with which a mean paired difference is significant with probability POWER.

    `deviation`: standard deviation of the difference over images, in the same unit; `level`: two-sided, divided by the
    number of `tests` (Holm's correction at its strictest). The paired t test needs the smallest n with
    P(|T| > t) >= POWER, T noncentral t with n - 1 degrees of freedom and noncentrality sqrt(n) difference / deviation
    (Chow, Shao, Wang: Sample Size Calculations in Clinical Research, 2nd ed. 2008, section 3.1); the signed-rank test
    n / EFFICIENCY, and enough for the smallest p value that it can have. None: more than MOST, or unknown.
    """
    n = _smallest(difference, deviation, level / tests, groups=1)
    if n is None:
        return None
    n = math.ceil(n / EFFICIENCY)
    while smallest_p(n, tests) >= level:
        n += 1
    return n


def seeds(difference: float, deviation: float, *, level: float) -> int | None:
    """Training seeds of each of two networks with which their mean scores differ significantly with probability POWER.

    `deviation`: standard deviation of a network's mean score over seeds. Two-sided t test of two samples of n, with
    2 n - 2 degrees of freedom and noncentrality sqrt(n / 2) difference / deviation (the same book, section 3.2; for
    training seeds: Colas, Sigaud, Oudeyer, arXiv:1806.08295, 2018). None: more than MOST, or unknown.
    """
    return _smallest(difference, deviation, level, groups=2)


def _smallest(difference: float, deviation: float, level: float, groups: int) -> int | None:
    """The smallest n in each of one or two groups, by bisection."""
    effect = abs(difference) / deviation if deviation else math.inf * abs(difference)
    if math.isnan(effect) or _power(MOST, effect, level, groups) < POWER:
        return None
    low, high = 1, MOST  # one value has no deviation
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, effect, level, groups) >= POWER else (middle, high)
    return high


def _power(n: int, effect: float, level: float, groups: int) -> float:
    """Of the two-sided t test, without the negligible other side."""
    from scipy import stats  # slow to import

    freedom = groups * (n - 1)
    shift = math.sqrt(n / groups) * effect
    if shift > 30:  # where the noncentral distribution is inexact
        return 1.0
    return float(stats.nct.sf(stats.t.isf(level / 2, freedom), freedom, shift))
