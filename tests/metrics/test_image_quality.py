"""PSNR, SSIM and MSE against scikit-image and analytic values; NumPy against batched tensors."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from denoiselab.imaging.tensors import planar
from denoiselab.metrics import batched, image_quality
from denoiselab.runtime.errors import UserError
from tests.conftest import photograph


@pytest.fixture(params=["colour", "gray"])
def pair(request, astronaut):
    clean = astronaut[:200, 100:350] if request.param == "colour" else astronaut[:200, 100:350, 1]
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    return clean, np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)


def test_psnr_agrees_with_scikit_image(pair):
    assert image_quality.psnr(*pair, data_range=255) == pytest.approx(
        peak_signal_noise_ratio(*pair, data_range=255), abs=1e-9
    )


@pytest.mark.parametrize("size", [(200, 250), (16, 250), (200, 11), (11, 11), (97, 13)])  # in one strip or several
def test_ssim_agrees_with_scikit_image(pair, size):
    clean, restored = (image[: size[0], : size[1]] for image in pair)
    axis = -1 if clean.ndim == 3 else None
    for scale in (255, 1):
        images = [image / (255 // scale) if scale == 1 else image for image in (clean, restored)]
        expected = structural_similarity(
            *images, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=scale, channel_axis=axis
        )
        assert image_quality.ssim(*images, data_range=scale) == pytest.approx(expected, abs=1e-12)


def test_ssim_refuses_images_smaller_than_the_window():
    with pytest.raises(UserError, match="20x10 is smaller than the window"):
        image_quality.ssim(np.zeros((10, 20)), np.zeros((10, 20)), data_range=1)


def test_mse_of_8_bits_is_exact(pair):
    squares = sum((int(a) - int(b)) ** 2 for a, b in zip(*(image.ravel() for image in pair), strict=True))
    assert image_quality.mse(*pair, data_range=255) == squares / (pair[0].size * 255**2)
    black = np.zeros((3000, 4000), np.uint8)  # the sum of squares needs 40 bits
    assert image_quality.mse(black, black + np.uint8(255), data_range=255) == 1


def test_analytic_values():
    clean = np.zeros((16, 16), np.uint8)
    restored = clean.copy()
    restored[0, 0] = 255  # one of 256 pixels off by the full range
    assert image_quality.mse(clean, restored, data_range=255) == pytest.approx(1 / 256)
    assert image_quality.psnr(clean, restored, data_range=255) == pytest.approx(10 * np.log10(256))
    assert image_quality.psnr(clean, clean + np.uint8(1), data_range=255) == pytest.approx(20 * np.log10(255))
    assert image_quality.psnr(clean, clean, data_range=255) == float("inf")
    assert image_quality.ssim(clean, clean, data_range=255) == pytest.approx(1)


@pytest.mark.parametrize("sigma_255", [5, 25, 75])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "motorcycle_left", "camera", "moon", "coins"])
def test_batched_metrics_agree_with_numpy(name, sigma_255):
    clean = (photograph(name) / 255).astype(np.float32)
    clean = clean if clean.ndim == 3 else clean[:, :, None]
    noise = np.random.default_rng(sigma_255).normal(0, sigma_255 / 255, clean.shape)
    noisy = np.clip(clean + noise, 0, 1).astype(np.float32)
    tensors = planar(clean), planar(noisy)
    assert batched.psnr(*tensors).item() == pytest.approx(image_quality.psnr(clean, noisy, data_range=1), abs=1e-4)
    assert batched.ssim(*tensors).item() == pytest.approx(image_quality.ssim(clean, noisy, data_range=1), abs=1e-5)


def test_batched_metrics_are_computed_for_each_image(astronaut):
    clean = np.stack([astronaut[:64, :80], astronaut[100:164, 200:280], np.full((64, 80, 3), 128, np.uint8)]) / 255
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, 0.1, clean.shape), 0, 1)
    a, b = (torch.from_numpy(x).permute(0, 3, 1, 2).float() for x in (clean, noisy))
    psnr = [image_quality.psnr(x, y, data_range=1) for x, y in zip(clean, noisy, strict=True)]
    ssim = [image_quality.ssim(x, y, data_range=1) for x, y in zip(clean, noisy, strict=True)]
    assert batched.psnr(a, b).numpy() == pytest.approx(psnr, abs=1e-5)
    assert batched.ssim(a, b).numpy() == pytest.approx(ssim, abs=1e-5)


def test_to_uint8_clips_and_rounds():
    assert image_quality.to_uint8(np.array([-1, 0, 0.5, 1, 2])).tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(UserError, match="not finite"):
        image_quality.to_uint8(np.array([np.nan]))


def test_different_shapes_are_refused():
    with pytest.raises(UserError, match="different shapes"):
        image_quality.mse(np.zeros((4, 4)), np.zeros((4, 5)), data_range=1)


def test_tone_bias_is_the_error_of_the_darkest_and_brightest_tenth():
    clean = np.arange(200, dtype=np.uint8).reshape(10, 20)
    restored = clean.astype(np.float32)
    restored[clean < 20] += 3
    restored[clean >= 180] -= 2
    restored[clean == 100] += 50
    assert image_quality.tone_bias(clean, restored) == (3.0, -2.0)
    clean = np.zeros((8, 8, 3), np.uint8)
    clean[0, 0] = 255
    assert image_quality.tone_bias(clean, np.full(clean.shape, 10, np.uint8)) == pytest.approx((10, 10 - 255 / 64))
    with pytest.raises(UserError):
        image_quality.tone_bias(clean, restored)
