"""The planned number of images and of seeds has the power that it promises, by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from denoiselab.comparison import sample_size

REPEATS = 3000


def images(difference: float, deviation: float, tests: int, draw=np.random.Generator.normal) -> tuple[int, float]:
    """The planned number, and the share of repeats in which the signed-rank test finds the difference."""
    n = sample_size.images(difference, deviation, level=0.05, tests=tests)
    values = difference + deviation * draw(np.random.default_rng(0), size=(REPEATS, n))
    return n, float((stats.wilcoxon(values, axis=1).pvalue * tests < 0.05).mean())


@pytest.mark.parametrize(
    ("difference", "deviation", "tests"),
    [(0.1, 0.1, 1), (0.1, 0.2, 1), (0.05, 0.2, 1), (0.1, 0.1, 28), (0.1, 0.2, 28), (0.1, 0.2, 10)],
)
def test_the_planned_images_find_the_difference_in_four_of_five_experiments(difference, deviation, tests):
    n, power = images(difference, deviation, tests)
    assert power == pytest.approx(0.8, abs=0.035)
    normal = ((stats.norm.isf(0.025 / tests) + stats.norm.isf(0.2)) * deviation / difference) ** 2
    assert normal <= n <= 1.05 * normal + 6


def test_few_images_suffice_for_no_test():
    """However large the difference, six values are needed for p below 0.05, eleven for 28 pairs."""
    assert sample_size.images(10, 0.01, level=0.05) == sample_size.images(0.1, 0, level=0.05) == 6
    assert sample_size.images(10, 0.01, level=0.05, tests=28) == 11


def test_differences_with_outliers_take_no_more_but_skewed_ones_may():
    """The signed-rank test is about the middle of the differences."""
    heavy = images(0.1, 0.2, 1, lambda rng, size: rng.standard_t(5, size) / math.sqrt(5 / 3))[1]
    skewed = images(0.1, 0.2, 1, lambda rng, size: (rng.gamma(4, size=size) - 4) / 2)[1]
    assert heavy > 0.85 and 0.65 < skewed < 0.8


@pytest.mark.parametrize(("difference", "deviation"), [(0.1, 0.1), (0.05, 0.1)])
def test_the_planned_seeds_find_the_difference_in_four_of_five_experiments(difference, deviation):
    n, rng = sample_size.seeds(difference, deviation, level=0.05), np.random.default_rng(0)
    one, other = rng.normal(difference, deviation, (REPEATS, n)), rng.normal(0, deviation, (REPEATS, n))
    assert (stats.ttest_ind(one, other, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("difference", "deviation"), [(0, 1), (math.nan, 1), (0.1, math.nan), (1e-4, 1), (0.0, 0.0)])
def test_what_is_unknown_or_out_of_reach_has_no_number(difference, deviation):
    assert sample_size.images(difference, deviation, level=0.05) is None
    assert sample_size.seeds(difference, deviation, level=0.05) is None
