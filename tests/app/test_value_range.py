"""Values far out of [0, 1], on a real photo: they survive, and the rest is as without them."""

import numpy as np
import pytest

from denoiselab.app import denoisers, value_range
from tests.conftest import photograph

SIGMA_255 = 15
NEAR = 3  # pixels, around an outlier
NAMES = ["colour_fast", "gray_fast", "real", "bm3d", "nlm", "wavelet", "median"]


def scene() -> np.ndarray:
    return np.float32(0.5) * photograph("chelsea")[60:156, 120:248] / np.float32(255)


def noisy() -> np.ndarray:
    """A dark photo with noise, not clipped."""
    clean = scene()
    return clean + np.float32(SIGMA_255 / 255) * np.random.default_rng(0).standard_normal(clean.shape, np.float32)


def spots(pixels: np.ndarray) -> np.ndarray:
    """Places (H, W) of hot and dead pixels, of stars of 3x3 pixels too."""
    rng, far = np.random.default_rng(1), np.zeros(pixels.shape[:2], bool)
    far[rng.integers(4, 92, 12), rng.integers(4, 124, 12)] = True
    far[40:43, 60:63] = far[10:12, 100:102] = True
    return far


def grown(far: np.ndarray, radius: int) -> np.ndarray:
    import cv2

    return cv2.dilate(far.astype(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8)) > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [1e4, -30.0])
def test_hot_pixels_survive_without_a_trace_around_them(name, value):
    plain = noisy()
    far, hot, denoiser = spots(plain), plain.copy(), denoisers.load(name)
    hot[far] = value
    filled = value_range.split(hot, SIGMA_255).usual
    assert np.abs(filled - plain)[far].max() < 0.5
    without, restored = (denoiser.restore(pixels, sigma_255=SIGMA_255) for pixels in (plain, hot))
    np.testing.assert_allclose(restored[far], value, rtol=1e-2 if abs(value) > 50 else 0.03)
    difference = np.abs(restored - without)[~grown(far, NEAR)]
    assert difference.mean() < 0.2 / 255 and np.quantile(difference, 0.999) < 4 / 255


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bright", [0.6, 50])
def test_around_a_highlight_the_result_is_as_good_as_elsewhere(name, bright):
    plain, denoiser = noisy(), denoisers.load(name)
    clean, region = scene(), np.zeros(plain.shape[:2], bool)
    region[30:60, 70:110] = True
    hdr, blown = plain.copy(), plain.copy()
    hdr[region] += bright
    blown[region] += 0.5
    around = grown(region, 12) & ~grown(region, 2)
    usual, restored = (denoiser.restore(pixels, sigma_255=SIGMA_255) for pixels in (blown, hdr))
    errors = [float(np.square(result - clean)[around].mean() ** 0.5) for result in (usual, restored)]
    assert errors[1] < 1.2 * errors[0] + 0.5 / 255, np.multiply(255, errors)
    if bright > 1:
        np.testing.assert_allclose(restored[region], hdr[region], atol=6 * SIGMA_255 / 255)


def test_usual_images_are_left_as_they_are():
    """Noise beyond black and white is no excess; results of experiments do not change."""
    given = noisy() * 2
    assert (given < 0).any() and (given > 1).any()
    assert value_range.split(given).usual is given
