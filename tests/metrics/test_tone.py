"""The tone check finds shifted brightness and colour, and nothing where only noise is removed. Real photos."""

import numpy as np
import pytest

from denoiselab.metrics import tone
from tests.conftest import photograph


def clean(name: str, channels: int = 3) -> np.ndarray:
    pixels = photograph(name)[:256, :320] / np.float32(255)
    return pixels if channels == 3 else pixels.mean(axis=2, keepdims=True)


def noisy(pixels: np.ndarray, sigma_255: float) -> np.ndarray:
    return pixels + np.float32(sigma_255 / 255) * np.random.default_rng(0).standard_normal(pixels.shape, np.float32)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma_255", [5, 25, 50])
def test_removed_noise_is_no_shift(name, channels, sigma_255):
    pixels = clean(name, channels)
    given = noisy(pixels, sigma_255)
    assert tone.largest(given, pixels) is None
    eight_bits = np.rint(given.clip(0, 1) * 255) / np.float32(255)
    assert tone.largest(eight_bits, pixels) is None, "clipped noise has shifted the input, not the output"


def test_noise_on_one_tone_is_not_sorted_by_itself():
    flat = np.full((320, 320, 1), 0.4, np.float32)
    assert tone.largest(noisy(flat, 50), flat) is None


def test_a_shift_is_found_where_it_is():
    pixels = 0.1 + 0.8 * clean("astronaut")
    shifted = pixels.copy()
    shifted[..., 0] += 6 / 255 * (pixels.mean(axis=2) < 0.3)
    found = tone.largest(noisy(pixels, 15), shifted)
    assert found is not None and found.channel == "red" and found.brightness < 0.35 * 255
    assert 3 < found.mean < 7 and f"red {found.mean:+.1f} of 255 [" in str(found)
    faded = tone.largest(noisy(pixels, 15), 0.5 + 0.95 * (pixels - 0.5))
    assert faded is not None and abs(faded.mean) > tone.BOUND_255


@pytest.mark.parametrize("shape", [(8, 8, 3), (40, 40, 1), (1, 500, 3)])
def test_small_images_are_not_checked(shape):
    assert tone.shifts(np.zeros(shape, np.float32), np.ones(shape, np.float32)) == []
