"""Alarms fire on models that are broken in one way each, and not on sound ones. Real photos."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from torch import nn

from denoiselab import config
from denoiselab.architectures.classical import nlm
from denoiselab.comparison.bootstrap import Interval
from denoiselab.comparison.paired_tests import Difference
from denoiselab.evaluation import evaluator, output_checks
from denoiselab.metrics import image_quality
from denoiselab.models import tiled_inference
from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.report import alarm_lines
from tests.conftest import photograph

SETTINGS = config.Alarms(min_gain_db=0.0, max_halfwidth_db=0.5)
NAMES = ("astronaut", "chelsea", "coffee")


class Broken(nn.Module):
    """A blur followed by `change` of its output or of the noisy input."""

    reach = 8

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], deviation: float = 1.2):
        super().__init__()
        self.change, self.deviation = change, deviation

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        deviations = (0, 0, self.deviation, self.deviation)
        blurred = torch.from_numpy(ndimage.gaussian_filter(noisy.numpy(), deviations, mode="mirror"))
        return self.change(blurred, noisy)


def some_nan(blurred: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    blurred[..., 3, 5] = float("nan")
    return blurred


def one_outlier(blurred: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    blurred[..., 3, 5] = -1e6
    return blurred


BROKEN = {
    "identity": (Broken(lambda blurred, noisy: noisy), {"unchanged"}),  # clamped, so a little better than its input
    "clamp": (Broken(lambda blurred, noisy: noisy.clip(0, 1)), {"unchanged"}),
    "gray": (Broken(lambda blurred, noisy: torch.full_like(noisy, 0.45)), {"constant", "worse"}),
    "0 to 255": (Broken(lambda blurred, noisy: 255 * blurred), {"range", "worse"}),
    "bytes": (Broken(lambda blurred, noisy: (255 * blurred.clip(0, 1)).to(torch.uint8)), {"range", "worse"}),
    "-1 to 1": (Broken(lambda blurred, noisy: 2 * blurred - 1), {"range", "worse"}),
    "outlier": (Broken(one_outlier), {"range"}),
    "bgr": (Broken(lambda blurred, noisy: blurred.flip(1)), {"channels", "worse"}),
    "nan": (Broken(some_nan), {"not_finite"}),
    "infinite": (Broken(lambda blurred, noisy: blurred / 0), {"not_finite"}),
    "fog": (Broken(lambda blurred, noisy: blurred, deviation=12), {"worse"}),
    "faded": (Broken(lambda blurred, noisy: 0.5 + 0.9 * (blurred - 0.5)), {"tone"}),
    "blur": (Broken(lambda blurred, noisy: blurred), set()),
    "nlm": (Broken(lambda blurred, noisy: torch.from_numpy(denoised(noisy))), set()),
}


def denoised(noisy: torch.Tensor) -> np.ndarray:
    return nlm(noisy[0].permute(1, 2, 0).numpy(), 0.6, 25 / 255).transpose(2, 0, 1)[None].astype(np.float32)


def crop(name: str) -> np.ndarray:
    return photograph(name)[100:228, 150:278]


def watched(
    model: nn.Module, sigma_255: float = 25, trained: tuple[float, float] | None = None, clip: bool = False
) -> dict[str, output_checks.Alarm]:
    """The alarms of a model on three photos with Gaussian noise."""
    monitor = output_checks.Monitor(SETTINGS, trained)
    for n, name in enumerate(NAMES):
        clean = crop(name)
        noise = np.random.default_rng(n).normal(0, sigma_255 / 255, clean.shape)
        noisy = (clean / 255 + noise).astype(np.float32)
        noisy = noisy.clip(0, 1) if clip else noisy
        restored = tiled_inference.restore(model, noisy, device=torch.device("cpu"))
        psnr = image_quality.psnr(clean, evaluator._pixels(restored), data_range=255)
        monitor.observe(
            "sigma25",
            name,
            output_checks.examine(clean, noisy, restored),
            gain=psnr - image_quality.psnr(clean / 255, noisy, data_range=1)
            if np.isfinite(restored).all()
            else math.nan,
            level=estimate_sigma_255(torch.from_numpy(noisy).permute(2, 0, 1)[None]).item(),
            clipped=clip,
        )
    return {alarm.kind: alarm for alarm in monitor.alarms()}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_raises_its_alarm_and_sound_models_none(name):
    model, kinds = BROKEN[name]
    found = watched(model)
    assert set(found) == kinds
    for alarm in found.values():
        affected = {("fog", "worse"): (2,), (name, "tone"): (1, 2, 3)}.get((name, alarm.kind), (3,))
        assert alarm.images in affected and (alarm.of, alarm.condition) == (3, "sigma25")
        assert alarm.worst in NAMES and alarm.worst in alarm.text


def test_alarm_texts_state_the_measured_numbers():
    assert f"{100 / 128**2:.3g} % of the values are NaN or infinite" in watched(BROKEN["nan"][0])["not_finite"].text
    assert "better when read as 0 to 255" in watched(BROKEN["bytes"][0])["range"].text
    assert "better when read as -1 to 1" in watched(BROKEN["-1 to 1"][0])["range"].text
    assert "values from -1e+06 to" in watched(BROKEN["outlier"][0])["range"].text
    fog = watched(BROKEN["fog"][0])["worse"]
    clean = crop(fog.worst)
    blurred = ndimage.gaussian_filter(clean / 255, (12, 12, 0), mode="mirror")
    gain = image_quality.psnr(clean / 255, blurred, data_range=1) - 20.17
    assert float(fog.text.split("(")[1].split()[0]) == pytest.approx(gain, abs=0.3)
    assert "below 0 dB on 2 of 3 images" in fog.text


def test_a_single_harmed_image_is_named():
    monitor = output_checks.Monitor(SETTINGS, None)
    for image, gain in (("good", 3.0), ("bad", -0.5), ("broken", math.nan)):
        monitor.observe("c", image, {}, gain=gain, level=25, clipped=False)
    (alarm,) = monitor.alarms()
    assert (alarm.kind, alarm.images, alarm.of, alarm.worst) == ("some", 1, 2, "bad")
    assert "mean gain +1.25 dB; below 0 dB on 1 of 2 images, lowest on bad (-0.50 dB)" in alarm.text
    monitor.observe("c", "ugly", {}, gain=-3.0, level=25, clipped=False)
    assert [alarm.kind for alarm in monitor.alarms()] == ["worse"]  # on the mean


@pytest.mark.parametrize(
    ("sigma_255", "trained", "clip", "fires"),
    [
        (25, (25, 25), False, False),
        (25, (25, 25), True, False),
        (50, (50, 50), True, False),
        (25, (0, 55), False, False),
        (50, (25, 25), False, True),
        (15, (25, 25), False, True),
        (25, (15, 15), False, True),
        (70, (0, 55), False, True),
        (50, None, False, False),
    ],
)
def test_noise_outside_the_training_range_raises_an_alarm(sigma_255, trained, clip, fires):
    found = watched(Broken(lambda blurred, noisy: blurred), sigma_255, trained, clip)
    assert ("level" in found) == fires
    if fires:
        assert found["level"].images == 3
        assert float(found["level"].text.split("estimated at ")[1].split()[0]) == pytest.approx(sigma_255, abs=2)


def table(images: int, halves: dict[str, float], groups: int | None = None) -> pd.DataFrame:
    rows = [{"model": m, "psnr_low": 30 - h, "psnr_high": 30 + h} for m, h in halves.items()]
    return pd.DataFrame(rows).assign(set="s", condition="c", n_images=images, n_groups=groups or images)


def that_many(pairs: int, groups: int = 0) -> dict:
    one = Difference("a", "b", Interval(1.0, 0.5, 1.5), 1, 1, groups, 0.001, pairs, 0.0)
    return {("s", "c"): [one] * pairs}


def test_wide_intervals_and_few_images_are_one_line_for_all_models(params):
    found = alarm_lines.of_table(table(5, {"a": 2.0, "b": 1.0, "c": 0.4, "d": math.nan}), that_many(0), params.evaluate)
    assert [(model, alarm.kind) for model, alarm in found] == [("", "few"), ("a", "interval"), ("b", "interval")]
    assert "needs about 80 images; there are 5" in found[1][1].text  # 5 (2 / 0.5)^2
    assert "at least 6 images" in found[0][1].text  # 2 / 2^6 < 0.05 < 2 / 2^5
    lines = alarm_lines.lines(found)
    assert [line["sign"] for line in lines] == ["Warning", "Warning"]
    assert lines[0]["text"].startswith("a, b: ") and lines[1]["text"].endswith("there are 5")
    assert alarm_lines.of_table(table(6, {"a": 0.5}), that_many(1, 6), params.evaluate) == []


def test_too_few_images_are_those_that_can_test_no_pair(params):
    (_, alarm), *more = alarm_lines.of_table(table(10, {"a": 0.5}), that_many(28, 10), params.evaluate)
    assert alarm.kind == "few" and "28 tests need" in alarm.text and "at least 11 images" in alarm.text and not more
    assert alarm_lines.of_table(table(11, {"a": 0.5}), that_many(28, 11), params.evaluate) == []
    (_, alarm), (_, wide) = alarm_lines.of_table(table(60, {"a": 2.0}, groups=5), that_many(1, 5), params.evaluate)
    assert "there are 5" in alarm.text and "at least 6 groups of images" in alarm.text
    assert "needs about 80 groups of images; there are 5" in wide.text
    one = Difference("a", "b", Interval(1.0, 0.5, 1.5), 10, 10, 10, 0.001, 28, 0.0)
    assert one.verdict(0.05, {}) == "few" and replace(one, groups=11).verdict(0.05, {}) == "better"


def test_undecided_pairs_have_the_number_of_images_that_they_need(params):
    """By hand: 1 dB at a spread of 1 dB takes 2.8016^2 = 7.8 images, more at few degrees of freedom."""
    level = Difference("a", "b", Interval(0.1, -0.3, 0.5), 6, 10, 10, 0.4, 1, 0.0, 0.5)
    ((_, alarm),) = alarm_lines.of_table(table(10, {"a": 0.5}), {("s", "c"): [level]}, params.evaluate)
    needed = level.needed(0.05)
    assert needed == pytest.approx((2.8016 * 5) ** 2 / 0.955, rel=0.02)
    said = f"not significant with 10 images; if as large as measured, a power of 80 % takes {needed} for a − b"
    assert alarm.text == f"the difference is {said}"
    better = Difference("a", "c", Interval(1.0, 0.5, 1.5), 10, 10, 10, 0.001, 1, 0.0, 0.5)
    few = [replace(one, groups=4, tests=28) for one in [better, level] * 4]
    (_, alarm) = alarm_lines.of_table(table(4, {"a": 0.5}), {("s", "c"): few}, params.evaluate)[0]
    assert alarm.text.startswith("8 tests need at least 9 images") and alarm.text.count("for a − ") == 5
    assert alarm.text.endswith("others in pairs.csv (n_needed)")
    assert alarm_lines.of_table(table(10, {"a": 0.5}), {("s", "c"): [better]}, params.evaluate) == []


def test_broken_outputs_come_before_warnings_one_line_per_kind():
    wrong = output_checks.Alarm("worse", "c", 1, 4, "x", "bad")
    level = output_checks.Alarm("level", "c", 4, 4, "x", "trained elsewhere")
    lines = alarm_lines.lines(
        [("a", level), ("b", level), ("b", wrong), ("c", output_checks.Alarm("worse", "c", 2, 4, "y", "very"))]
    )
    assert [(line["sign"], line["text"]) for line in lines] == [
        ("Alarm", "b: bad; c: very"),
        ("Warning", "a, b: trained elsewhere"),
    ]
