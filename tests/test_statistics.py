"""Intervals and comparisons against independent sums."""

import numpy as np
import pandas as pd
import pytest

from denoiselab import comparison, statistics

SETTINGS = {"confidence": 0.95, "resamples": 2000, "seed": 0}


def test_an_interval_is_near_the_normal_one_for_many_values():
    values = np.random.default_rng(0).normal(30, 2, 400)
    found = statistics.mean_interval(values, **SETTINGS)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(1.96 * 2 / 20, rel=0.15)
    assert found.mean - found.low == pytest.approx(1.96 * 2 / 20, rel=0.15)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    inside = 0
    for n in range(200):
        found = statistics.mean_interval(rng.normal(0, 1, 40), **{**SETTINGS, "seed": n, "resamples": 500})
        inside += found.low <= 0 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_one_value_has_no_interval_and_equal_values_an_empty_one():
    assert np.isnan(statistics.mean_interval(np.array([30.0]), **SETTINGS).low)
    assert statistics.mean_interval(np.array([30.0, 30.0]), **SETTINGS).high == 30


def test_a_paired_difference_sees_through_the_spread_of_the_images(params):
    images = [f"image{n}" for n in range(12)]
    levels = np.linspace(20, 40, 12)
    frames = [
        pd.DataFrame({"model": model, "condition": "c", "image": images, "draw": 0, "psnr": levels + shift})
        for model, shift in (("a", 0.3), ("b", np.linspace(0.1, 0.2, 12)))
    ]
    found = comparison.difference(pd.concat(frames), "a", "b", params)
    assert found.interval.mean == pytest.approx(0.15)
    assert found.settled
    assert (found.wins, found.images) == (12, 12)
    assert not comparison.difference(pd.concat(frames), "b", "a", params).settled


def test_identical_images_are_left_out_of_means_and_differences(params):
    psnr = {"a": [30.0, float("inf"), 32.0], "b": [29.0, 28.0, 31.0]}
    rows = pd.concat(
        pd.DataFrame({"model": model, "image": ["x", "y", "z"], "draw": 0, "psnr": values})
        for model, values in psnr.items()
    )
    assert list(comparison.by_image(rows[rows.model == "a"], "psnr")) == [30.0, 32.0]
    found = comparison.difference(rows, "a", "b", params)
    assert (found.interval.mean, found.images) == (1.0, 2)


def test_nothing_has_no_mean():
    assert np.isnan(statistics.mean_interval(np.array([]), **SETTINGS).mean)
