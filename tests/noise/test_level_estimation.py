"""Blind estimation of the noise level."""

import numpy as np
import pytest
import torch
from skimage import restoration

from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.runtime import seeding

LEVELS = (5.0, 25.0, 50.0)


def smooth(sigma_255: float, channels: int = 3, height: int = 127, width: int = 160) -> torch.Tensor:
    """(1, C, H, W): a smooth image with noise."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 3, width), indexing="ij")
    image = 0.5 + 0.3 * torch.sin(x + y).expand(1, channels, height, width)
    return image + sigma_255 / 255 * torch.randn(image.shape, generator=seeding.generator("smooth", sigma_255))


@pytest.mark.parametrize("sigma_255", LEVELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_level_of_synthetic_noise_is_estimated(sigma_255, channels):
    assert estimate_sigma_255(smooth(sigma_255, channels)).item() == pytest.approx(sigma_255, rel=0.1)


def test_the_level_is_estimated_for_each_image():
    batch = torch.cat([smooth(level) for level in LEVELS])
    together = estimate_sigma_255(batch)
    assert together.shape == (3,)
    assert torch.equal(together, torch.cat([estimate_sigma_255(image[None]) for image in batch]))


def test_estimates_are_close_to_scikit_images(astronaut):
    clean = astronaut[100:300, 150:350] / 255
    noisy = clean + 20 / 255 * np.random.default_rng(0).standard_normal(clean.shape)
    planar = torch.from_numpy(noisy).permute(2, 0, 1)[None]
    reference = 255 * restoration.estimate_sigma(noisy, channel_axis=-1, average_sigmas=True)
    assert estimate_sigma_255(planar).item() == pytest.approx(reference, rel=0.1)


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (2, 3), (5, 7), (64, 33), (63, 64)])
def test_the_estimate_is_the_median_over_all_complete_blocks(size):
    image = torch.rand(1, 3, *size, generator=seeding.generator("blocks", size))
    medians = []
    for channel in image[0].numpy():
        blocks = [channel[y : y + 2, x : x + 2] for y in range(0, size[0] - 1, 2) for x in range(0, size[1] - 1, 2)]
        coefficients = sorted(abs((b[0, 0] - b[1, 0]) - (b[0, 1] - b[1, 1])) / 2 for b in blocks)
        medians.append(coefficients[(len(coefficients) - 1) // 2])
    assert estimate_sigma_255(image).item() == pytest.approx(255 / 0.6745 * float(np.mean(medians)), rel=1e-6)


def test_sizes_without_a_block_have_level_0():
    for size in [(1, 1), (1, 5), (7, 1)]:
        assert estimate_sigma_255(torch.rand(2, 3, *size)).tolist() == [0, 0]
    assert estimate_sigma_255(torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])).item() == pytest.approx(255 / 0.6745)
