"""Intervals and comparisons, checked by independent calculations."""

import math

import numpy as np
import pandas as pd
import pytest

from denoiselab.comparison import aggregate, bootstrap, paired_tests
from denoiselab.comparison.verdicts import Training
from denoiselab.report import facts

SETTINGS = {"confidence": 0.95, "resamples": 2000, "seed": 0}


def test_an_interval_is_near_the_normal_one_for_many_values():
    values = np.random.default_rng(0).normal(30, 2, 400)
    found = bootstrap.mean_interval(values, **SETTINGS)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(1.96 * 2 / 20, rel=0.15)
    assert found.mean - found.low == pytest.approx(1.96 * 2 / 20, rel=0.15)


@pytest.mark.parametrize("scenes", [68, 40])
def test_intervals_cover_the_truth_as_often_as_they_say(scenes):
    """400 repeats: skewed differences on 68 images (as CBSD68), and on 40 scenes of one to nine images."""
    rng = np.random.default_rng(1)
    inside = 0
    for n in range(400):
        groups = np.arange(scenes) if scenes == 68 else np.repeat(np.arange(scenes), rng.integers(1, 10, scenes))
        shared = 0.1 * rng.gamma(4, size=scenes)
        values = shared[groups] + rng.normal(0, 0.05, len(groups))
        found = bootstrap.mean_interval(values, groups=groups, **{**SETTINGS, "seed": n, "resamples": 1000})
        inside += found.low <= 0.4 <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_one_value_has_no_interval_and_equal_values_an_empty_one():
    assert np.isnan(bootstrap.mean_interval(np.array([30.0]), **SETTINGS).low)
    assert bootstrap.mean_interval(np.array([30.0, 30.0]), **SETTINGS).high == 30


def test_a_paired_difference_sees_through_the_spread_of_the_images(params):
    images = [f"image{n}" for n in range(12)]
    levels = np.linspace(20, 40, 12)
    frames = [
        pd.DataFrame(
            {
                "model": model,
                "condition": "c",
                "image": images,
                "group": images,
                "draw": 0,
                "seed": 0,
                "psnr": levels + shift,
            }
        )
        for model, shift in (("a", 0.3), ("b", np.linspace(0.1, 0.2, 12)))
    ]
    found = paired_tests.difference(pd.concat(frames), "a", "b", params)
    assert found.interval.mean == pytest.approx(0.15)
    assert found.verdict(0.05, {}) == "better"
    assert (found.wins, found.images) == (12, 12)
    assert paired_tests.difference(pd.concat(frames), "b", "a", params).verdict(0.05, {}) == "level"


def test_broken_outputs_are_left_out_of_means_and_differences(params):
    psnr = {"a": [30.0, float("nan"), 32.0], "b": [29.0, 28.0, 31.0]}
    rows = pd.concat(
        pd.DataFrame({"model": model, "image": list("xyz"), "group": list("xyz"), "draw": 0, "seed": 0, "psnr": values})
        for model, values in psnr.items()
    )
    assert list(aggregate.by_image(rows, "psnr")["a"].dropna()) == [30.0, 32.0]
    found = paired_tests.difference(rows, "a", "b", params)
    assert (found.interval.mean, found.images) == (1.0, 2)


def scored(psnr: dict[str, list[float]]) -> pd.DataFrame:
    """Rows of one test set and condition; one image per value."""
    return pd.concat(
        pd.DataFrame({"model": model, "image": [*map(str, range(len(values)))], "draw": 0, "seed": 0, "psnr": values})
        for model, values in psnr.items()
    ).assign(set="here", condition="sigma25", group=lambda rows: rows.image)


def test_a_model_with_a_broken_output_is_compared_with_none(params):
    """Its mean over the other images would rank it: nine easy images against ten."""
    rows = scored({"unet": [30.0] * 9 + [math.nan], "dncnn": [29.0] * 9 + [20.0], "nlm": [28.0] * 9 + [19.0]})
    assert aggregate.incomplete(rows, "psnr") == {"unet"}
    (found,) = paired_tests.all_pairs(rows, params)["here", "sigma25"]
    assert (found.better, found.worse) == ("dncnn", "nlm")


def test_an_image_on_which_no_model_has_a_score_breaks_none(params):
    rows = scored({"unet": [30.0, math.nan], "dncnn": [29.0, math.nan]})
    assert aggregate.incomplete(rows, "psnr") == set()


def test_no_values_have_no_mean():
    assert np.isnan(bootstrap.mean_interval(np.array([]), **SETTINGS).mean)


def test_holms_adjusted_values_are_those_calculated_by_hand():
    assert bootstrap.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert bootstrap.holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])


def test_images_of_a_scene_are_resampled_together():
    rng = np.random.default_rng(3)
    scenes = np.repeat(np.arange(20), 10)
    values = rng.normal(30, 2, 20)[scenes] + rng.normal(0, 0.1, 200)
    alone = bootstrap.mean_interval(values, **SETTINGS)
    together = bootstrap.mean_interval(values, groups=scenes, **SETTINGS)
    assert together.mean == pytest.approx(values.mean())
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_few_images_and_the_spread_of_seeds_give_no_verdict(params):
    def rows(model: str, seed: int, shift: float, n: int) -> pd.DataFrame:
        images = [f"image{k}" for k in range(n)]
        values = np.linspace(20, 40, n) + shift + np.linspace(0, 0.01, n)
        return pd.DataFrame({"model": model, "image": images, "group": images, "draw": 0, "seed": seed, "psnr": values})

    few = pd.concat([rows("a", 0, 1, 5), rows("b", 0, 0, 5)])
    assert paired_tests.difference(few, "a", "b", params).verdict(0.05, {}) == "few"
    places = pd.concat([rows("a", 0, 1, 30), rows("a", 1, -0.1, 30), rows("b", 0, 0, 30)])
    found = paired_tests.difference(places, "a", "b", params)
    assert found.significant(0.05) and found.spread == pytest.approx(1.1)
    flat = {"a": Training((0.0, 0.0, 0.0))}
    assert found.verdict(0.05, flat) == "undecided"
    apart = pd.concat([rows("a", 0, 1, 30), rows("a", 1, 0.5, 30), rows("b", 0, 0, 30)])
    assert paired_tests.difference(apart, "a", "b", params).verdict(0.05, flat) == "better"


def test_the_best_model_may_be_level_with_the_third_but_not_the_second(params):
    rng = np.random.default_rng(0)
    images, levels = [f"image{n}" for n in range(20)], np.linspace(20, 40, 20)
    psnr = {"unet": levels, "dncnn": levels - 0.1 + rng.normal(0, 0.01, 20), "nlm": levels - 0.5 + rng.normal(0, 3, 20)}
    rows = pd.concat(
        pd.DataFrame({"model": model, "image": images, "group": images, "draw": 0, "seed": 0, "psnr": values})
        for model, values in psnr.items()
    )
    ranked = sorted(psnr, key=lambda model: -psnr[model].mean())
    assert ranked == ["unet", "dncnn", "nlm"]
    answer = facts.answer(params, ranked, rows, paired_tests.pairs(rows, ranked, params), {})
    assert answer["doubts"] == ["the difference from nlm is not significant"]
    assert (answer["first"].better, answer["first"].worse, answer["classical"]) == ("unet", "nlm", None)


def test_too_few_images_for_any_significant_pair(params):
    """With 28 pairs and 8 images the smallest corrected p value is 28 x 2 / 2^8."""
    images = [f"image{n}" for n in range(8)]
    rows = pd.concat(
        pd.DataFrame({"model": f"m{m}", "image": images, "group": images, "draw": 0, "seed": 0, "psnr": values})
        for m, values in enumerate(30 - np.arange(8)[:, None] + np.linspace(0, 0.1, 8) * np.arange(1, 9)[:, None])
    )
    models = [f"m{m}" for m in range(8)]
    assert {one.verdict(0.05, {}) for one in paired_tests.pairs(rows, models, params)} == {"few"}
    assert paired_tests.pairs(rows, models[:2], params)[0].verdict(0.05, {}) == "better"


def test_a_pair_is_ordered_by_the_images_that_both_have(params):
    """The first model restores five easy images exactly, which have no PSNR, and is better on all others."""
    images = [f"image{n}" for n in range(25)]
    psnr = {"a": np.r_[[np.inf] * 5, np.linspace(29.5, 31, 20)], "b": np.r_[[45.0] * 5, np.linspace(29, 30.4, 20)]}
    rows = pd.concat(
        pd.DataFrame({"model": model, "image": images, "group": images, "draw": 0, "seed": 0, "psnr": values})
        for model, values in psnr.items()
    )
    (found,) = paired_tests.pairs(rows, ["a", "b"], params)
    assert (found.better, found.wins, found.images, found.verdict(0.05, {})) == ("a", 20, 20, "better")
