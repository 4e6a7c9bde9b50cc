"""Partial denoising: what is printed of noise and detail agrees with the truth, on real photos."""

import cv2
import numpy as np
import pytest

from denoiselab.app import denoisers, strength
from denoiselab.noise.analysis import estimate
from tests.conftest import photograph


def pair(name: str, sigma_255: float) -> tuple[np.ndarray, np.ndarray]:
    clean = photograph(name)[:192, :256] / np.float32(255)
    noise = np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    return clean, clean + np.float32(sigma_255 / 255) * noise


def fine(pixels: np.ndarray) -> np.ndarray:
    return pixels - cv2.blur(pixels, (3, 3))


@pytest.mark.parametrize("model", ["colour_fast", "gaussian"])
@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_noise_and_detail_are_as_said(name, model):
    clean, noisy = pair(name, 10)
    restored = denoisers.load(model).restore(noisy)
    for share in (0.0, 0.5, 1.0):
        output = strength.blend(noisy, restored, share)
        kept = strength.kept(noisy, restored, share)
        truth = float((fine(clean) * fine(output)).mean() / np.square(fine(clean)).mean())
        assert kept.detail == pytest.approx(truth, abs=0.12)
        assert kept.left_255 == pytest.approx(min(kept.noise_255, estimate(output).sigma_255))
    assert str(kept).startswith("strength 1: noise ") and "% of fine detail kept" in str(kept)


def test_the_ends_are_the_input_and_the_estimate():
    clean, noisy = pair("astronaut", 10)
    assert strength.blend(noisy, clean, 1) is clean
    np.testing.assert_array_equal(strength.blend(noisy, clean, 0), noisy)


def test_without_detail_nothing_is_said_of_it():
    flat = np.full((256, 256, 1), 0.5, np.float32)
    noisy = flat + np.float32(0.1) * np.random.default_rng(0).standard_normal(flat.shape, np.float32)
    kept = strength.kept(noisy, flat, 0.5)
    assert kept.detail is None and str(kept).endswith("left")
    assert strength.kept(flat[:8, :8], flat[:8, :8], 0.5).detail is None
