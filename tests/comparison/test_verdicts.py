"""When a measured difference is a verdict: flattened networks, and the spread of the training seeds."""

import math

import numpy as np
import pandas as pd
import pytest

from denoiselab.comparison import paired_tests, verdicts
from denoiselab.comparison.bootstrap import Interval
from denoiselab.comparison.paired_tests import Difference
from denoiselab.comparison.verdicts import Training
from denoiselab.report import facts
from tests.conftest import ROOT

FLAT, RISING, SHORT = Training((0.02, 0.05, 0.0)), Training((0.02, 0.31, 0.0)), Training((0.0, math.nan, 0.0))
ONE, TWO = Training((0.0,)), Training((0.0, 0.0))


def history(*scores: list[float], name: str = "val_psnr") -> pd.DataFrame:
    """Evenly spaced validations of each seed."""
    rows = [
        {"seed": seed, "step": 500 * n, "loss": 0.1, name: score, "val_ssim": 0.5}
        for seed, own in enumerate(scores)
        for n, score in enumerate(own, 1)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("scores", "gain"),
    [
        ([28.0, 29.5, 30.2, 30.50, 30.55], 0.05),
        ([28.0, 29.5, 30.2, 30.5, 30.4], 0.0),  # the best comes earlier
        ([28.0, 28.5, 29.0, 29.5, 30.0], 0.5),
        ([28.0, 29.0, 30.0, 30.1, 30.2, 30.3, 30.4, 30.5, 30.6, 31.0], 0.5),  # two of ten in the last fifth
        ([28.0, 29.5, 30.2, 30.5], math.nan),
    ],
)
def test_the_gain_in_the_last_fifth(scores, gain):
    found = verdicts.training(history(scores))
    assert found.gain == pytest.approx(gain, nan_ok=True)
    assert found.flat == (gain < 0.1)


def test_every_seed_must_have_flattened():
    flat, rising, short = [28.0, 30, 30, 30, 30], [28.0, 29, 30, 30, 30.3], [30.0] * 4
    assert verdicts.training(history(flat, flat)).flat
    assert verdicts.training(history(flat, rising)).gain == pytest.approx(0.3)
    assert not verdicts.training(history(flat, short)).flat


def test_a_self_supervised_network_is_judged_by_psnr_if_it_is_known_else_strictly_by_its_own_score():
    own = history([20.0, 21, 22, 22, 22.05], name="val_held_out")
    assert verdicts.training(own).gain == pytest.approx(0.05)
    assert not verdicts.training(own).flat
    assert verdicts.training(history([20.0, 21, 22, 22, 22.005], name="val_held_out")).flat
    assert "gained 0.050 dB" in verdicts.unsettled("a", {"a": verdicts.training(own)})[0]
    known = verdicts.training(own.assign(val_psnr=[28.0, 29, 30, 30, 30.4]))
    assert (known.gain, known.flat) == (pytest.approx(0.4), False)


def test_the_committed_network_has_flattened():
    """Its best validation is at step 2,500 of 3,500."""
    found = verdicts.training(pd.read_csv(ROOT / "reports/train/unet.csv"))
    assert found.gains == (0.0,) and found.flat


def difference(mean: float = 1.0, half: float = 0.2, spread: float = 0.0, **changes) -> Difference:
    fixed = {"wins": 30, "images": 30, "groups": 30, "p": 0.001 if mean > half else 0.5, "tests": 1}
    return Difference("a", "b", Interval(mean, mean - half, mean + half), spread=spread, **fixed | changes)


@pytest.mark.parametrize(
    ("found", "trainings", "doubts", "verdict"),
    [
        (difference(), {}, [], "better"),  # two classical methods
        (difference(spread=0.4), {"a": FLAT, "b": FLAT}, [], "better"),
        (difference(spread=0.4), {"a": RISING, "b": FLAT}, [], "better"),  # a better winner only widens the gap
        (difference(spread=0.4), {"a": RISING}, [], "better"),  # a classical loser
        (
            difference(spread=0.4),
            {"a": FLAT, "b": RISING},
            ["b still gained 0.31 dB in the last fifth of its training"],
            "undecided",
        ),
        (
            difference(spread=0.4),
            {"a": FLAT, "b": SHORT},
            ["too few validations to tell whether b has flattened"],
            "undecided",
        ),
        (difference(spread=1.0), {"a": FLAT, "b": FLAT}, ["training seeds differ as much"], "undecided"),
        (difference(), {"a": ONE}, ["one training seed"], "undecided"),  # against a classical method
        (difference(), {"b": ONE}, ["one training seed"], "undecided"),
        (difference(), {"a": TWO, "b": FLAT}, ["two training seeds are too few"], "undecided"),
        (difference(0.1), {"a": FLAT}, ["the difference from b is not significant"], "level"),
        (difference(groups=5, images=5), {}, ["5 images are too few to test the difference"], "few"),
        (
            difference(groups=8, images=8, ties=3),
            {},
            ["8 images, 3 of them with equal scores, are too few to test the difference"],
            "few",
        ),
        (difference(groups=1, tests=3), {}, ["one scene is too few to test 3 pairs"], "few"),
    ],
)
def test_verdicts(found, trainings, doubts, verdict):
    assert found.doubts(0.05, trainings) == doubts
    assert found.verdict(0.05, trainings) == verdict


@pytest.mark.parametrize(
    ("found", "trainings", "equal", "doubts"),
    [
        (difference(0.02, 0.05, 0.03), {"a": FLAT, "b": FLAT}, True, []),
        (difference(0.02, 0.05, 0.1), {"a": FLAT, "b": FLAT}, True, ["training seeds differ as much"]),
        (difference(0.02, 0.05, groups=5), {}, False, ["5 images are too few"]),
        (difference(0.1, 0.05), {"a": FLAT}, False, ["the interval reaches across ±0.1 dB"]),
        (difference(0.5, 0.05, 0.1), {"a": FLAT, "b": FLAT}, False, []),
        (difference(0.08, 0.01, 0.09), {"a": FLAT, "b": FLAT}, True, ["training seeds differ as much"]),
        (difference(0.15, 0.04, 0.12), {"a": FLAT, "b": FLAT}, False, ["training seeds differ as much"]),
        (
            difference(-0.5, 0.05, 0.1),
            {"a": RISING, "b": FLAT},
            False,
            ["a still gained 0.31 dB in the last fifth of its training"],
        ),
    ],
)
def test_equality(found, trainings, equal, doubts):
    assert found.equality(0.1, 0.05, trainings) == (equal, doubts)


def rows(**shifts: float) -> pd.DataFrame:
    """Three seeds of every model, 0.1 dB apart, on 20 images; `shifts`: PSNR above the first model's."""
    images, levels = [f"image{n}" for n in range(20)], np.linspace(20, 40, 20)
    return pd.concat(
        pd.DataFrame({"model": model, "image": images, "group": images, "draw": 0, "seed": seed}).assign(
            psnr=levels + shift + 0.05 * seed + np.linspace(0, 0.01 * (1 + abs(shift)), 20), set="s", condition="c"
        )
        for model, shift in shifts.items()
        for seed in range(3)
    )


def test_a_claim_is_judged_in_the_direction_of_the_difference(params):
    """It did not hold only if the model that it favours has flattened."""
    data = rows(unet=0.0, dncnn=1.0)
    flat = {"unet": FLAT, "dncnn": FLAT}
    assert facts.judged(params, data, flat, "dncnn", "unet") == {"held": True, "doubts": []}
    assert facts.judged(params, data, flat, "unet", "dncnn") == {"held": False, "doubts": []}
    late = flat | {"unet": RISING}
    for claim in (("dncnn", "unet"), ("unet", "dncnn")):
        found = facts.judged(params, data, late, *claim)
        assert found["doubts"] == ["unet still gained 0.31 dB in the last fifth of its training"]
    assert facts.judged(params, data, flat | {"dncnn": RISING}, "dncnn", "unet") == {"held": True, "doubts": []}
    assert facts.judged(params, data, flat, "unet", "nafnet") is None
    near = rows(unet=0.0, dncnn=0.08)
    assert facts.judged(params, near, flat, "dncnn", "unet")["doubts"] == ["training seeds differ as much"]


def test_the_headline_names_the_model_that_may_catch_up(params):
    data, ranked = rows(unet=3.0, dncnn=1.0, nlm=0.0), ["unet", "dncnn", "nlm"]
    pairs = paired_tests.pairs(data, ranked, params)
    late = facts.answer(params, ranked, data, pairs, {"unet": RISING, "dncnn": RISING})
    assert late["first"].worse == "dncnn"
    assert late["doubts"] == ["dncnn still gained 0.31 dB in the last fifth of its training"]
    assert facts.answer(params, ranked, data, pairs, {"unet": RISING, "dncnn": FLAT})["doubts"] == []
