"""The noise curve of photographs whose noise is known."""

import cv2
import numpy as np
import pytest

from denoiselab.app import noise_curve
from denoiselab.noise import curve
from denoiselab.noise.analysis import Estimate
from tests.conftest import photograph

PHOTOS = ("chelsea", "astronaut", "coffee", "motorcycle_left")
WHITE, CORRELATED = Estimate(10, "signal-dependent", ""), Estimate(5, "correlated", "")


def clean(name: str) -> np.ndarray:
    return photograph(name).astype(np.float32) / 255


def smeared(shape: tuple[int, ...], variance: float, width: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), width)
    return noise * np.float32(variance**0.5 / noise.std())


@pytest.mark.slow
@pytest.mark.parametrize(("slope", "at_black"), [(0.0005, 5e-5), (0.005, 0.0002), (0, 0.0004), (0, 0.0096)])
def test_the_variance_at_middle_gray_is_right_within_a_tenth(slope, at_black):
    for name in PHOTOS:
        image = clean(name)
        noise = np.random.default_rng(0).normal(0, 1, image.shape) * np.sqrt(slope * image + at_black)
        _, green, _ = noise_curve.measure((image + noise).astype(np.float32), WHITE)
        assert green
        true = slope / 2 + at_black
        assert (green.sigma_255(0.5) / 255) ** 2 == pytest.approx(true, rel=0.1), name
        assert green.correlation_length == pytest.approx(1 - np.exp(-1), abs=0.06), name


@pytest.mark.slow
def test_correlated_noise_has_its_variance_and_its_length():
    image = clean("astronaut")
    lengths = []
    for width in (0.7, 1.2):
        found = noise_curve.measure(image + smeared(image.shape, 0.0005, width), CORRELATED)[1]
        assert found and found.sigma_255(0.5) == pytest.approx(255 * 0.0005**0.5, rel=0.1)
        lengths.append(found.correlation_length)
    # where exp(-d^2 / (4 width^2)), linear between whole pixels, is 1/e
    assert lengths == pytest.approx([1.50, 2.45], rel=0.15)


def test_flat_fields_give_their_noise_by_brightness():
    rows = np.repeat(np.linspace(0.1, 0.9, 512, dtype=np.float32)[:, None], 512, 1)
    noisy = rows + np.random.default_rng(0).normal(0, 1, rows.shape).astype(np.float32) * np.sqrt(0.01 * rows)
    for white in (True, False):
        found = curve.measure([noisy], [rows], white)
        assert found and np.array(found.variance) == pytest.approx(0.01 * np.array(found.brightness), rel=0.15)
        slope, at_black = found.line
        assert slope == pytest.approx(0.01, rel=0.1) and abs(at_black) < 0.0005


def test_too_little_clean_or_dotted_images_have_no_curve():
    small = np.full((60, 60), 0.5, np.float32)
    assert curve.measure([small], [small], white=True) is None
    for kind in ("clean", "impulse"):
        assert noise_curve.measure(clean("chelsea"), Estimate(0, kind, "")) == ()


def test_crops_are_spread_over_a_large_image():
    assert [crop.shape for crop in noise_curve._crops(np.zeros((200, 300, 1), np.float32))] == [(200, 300, 1)]
    large = np.arange(3000, dtype=np.float32)[:, None, None] * np.ones((1, 2000, 1), np.float32)
    crops = noise_curve._crops(large)
    assert len(crops) == 16 and crops[0][0, 0] == 0 and crops[-1][-1, -1] == 2999
    strip = noise_curve._crops(np.zeros((100, 20000, 1), np.float32))
    assert [crop.shape for crop in strip] == [(100, 256, 1)] * 4
