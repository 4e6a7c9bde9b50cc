"""No-reference evaluation by blind-spot prediction (Batson, Royer: Noise2Self: Blind Denoising by Self-Supervision,
ICML 2019), and correlation measures of noise and residual.

One pixel of every 4x4 is replaced by the mean of its four neighbours; the model's prediction there is compared with the
noisy value. For noise that is independent between pixels and has mean 0, the expected squared error is that against the
clean pixel plus the noise variance, which is the same for all models: the better prediction is closer to the clean
image.

Images are float32 in [0, 1] plus noise: arrays (H, W, C), or tensors (N, C, H, W) for `mask` and
`prediction_score_batch`.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from denoiselab.imaging.tensors import interleaved, planar
from denoiselab.noise.level_estimation import estimate_sigma_255

GRID = 4  # one pixel is held out of every GRID x GRID
HELD_OUT = (..., slice(1, None, GRID), slice(1, None, GRID))  # index of the held-out pixels
BLOCK = 16  # side in pixels of the blocks from which the noise correlation is estimated
FLATTEST = 0.1  # fraction of the blocks used
RADIUS = 7  # of the mean filter in pixels; detail is the difference from the local mean
MIN_MSE = 1e-10  # corresponds to 100 dB


def mask(noisy: torch.Tensor) -> torch.Tensor:
    """Replace the held-out pixels of images (N, C, H, W) by the mean of their four neighbours, in every channel."""
    padded = F.pad(noisy, (1, 1, 1, 1), mode="reflect")
    up, down = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    masked = noisy.clone()
    masked[HELD_OUT] = (up[HELD_OUT] + down[HELD_OUT] + left[HELD_OUT] + right[HELD_OUT]) / 4
    return masked


def prediction_score_batch(noisy: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """-10 log10 of the MSE at the held-out pixels, (N,), in dB; `predicted`: the output for `mask(noisy)`."""
    error = (noisy[HELD_OUT].double() - predicted[HELD_OUT].double()).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=MIN_MSE).log10()


def mask_array(noisy: np.ndarray) -> np.ndarray:
    """`mask` for an array."""
    return interleaved(mask(planar(noisy)))


def prediction_score(noisy: np.ndarray, predicted: np.ndarray) -> float:
    """`prediction_score_batch` for arrays."""
    return prediction_score_batch(planar(noisy), planar(predicted)).item()


def measures(noisy: np.ndarray, restored: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Values of a HeldOutScore; `restored`: output for the image, `predicted`: output for `mask_array(noisy)`."""
    image, output = planar(noisy), planar(restored)
    return {
        "held_out": prediction_score(noisy, predicted),
        "sigma_255": estimate_sigma_255(image).item(),
        "sigma_255_left": estimate_sigma_255(output).item(),
        "noise_correlation": noise_correlation(image),
        "residual_correlation": neighbour_correlation(image - output),
        "structure": structure(image, output),
    }


def noise_correlation(noisy: torch.Tensor) -> float:
    """Correlation between the noise of neighbouring pixels of an image (1, C, H, W): about 0 for independent noise.

    Estimated from the flattest tenth of all 16x16 blocks, after subtracting a plane; too high if these have texture.
    NaN if all blocks are constant or the image is smaller than a block.
    """
    if min(noisy.shape[-2:]) < BLOCK:
        return math.nan
    blocks = noisy.double().unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).reshape(-1, BLOCK, BLOCK)
    ramp = torch.linspace(-1, 1, BLOCK, dtype=blocks.dtype).expand(BLOCK, BLOCK)
    for plane in (torch.ones_like(ramp), ramp, ramp.T):
        blocks = blocks - (blocks * plane).mean(dim=(1, 2), keepdim=True) / plane.square().mean() * plane
    energy = blocks.square().mean(dim=(1, 2))
    varied = blocks[energy > MIN_MSE][energy[energy > MIN_MSE].argsort()]
    return neighbour_correlation(varied[: math.ceil(FLATTEST * len(varied))])


def neighbour_correlation(values: torch.Tensor) -> float:
    """Mean product of neighbours (across and down) in (..., H, W), divided by the mean square; NaN if all are 0."""
    across = (values[..., 1:] * values[..., :-1]).mean()
    down = (values[..., 1:, :] * values[..., :-1, :]).mean()
    return ((across + down) / 2 / values.square().mean()).item()


def structure(noisy: torch.Tensor, restored: torch.Tensor) -> float:
    """Correlation of the residual, noisy - restored, with the detail of the restored image, both (1, C, H, W).

    About 0 if only noise was removed; higher if image structure was removed too. NaN if residual or detail is constant,
    or the image is too small.
    """
    if min(restored.shape[-2:]) <= RADIUS:
        return math.nan
    image = restored.double()
    blurred = F.avg_pool2d(F.pad(image, (RADIUS,) * 4, mode="reflect"), 2 * RADIUS + 1, stride=1)
    return (_normalised(noisy.double() - image) * _normalised(image - blurred)).sum().item()


def _normalised(values: torch.Tensor) -> torch.Tensor:
    """Subtract the mean, scale to norm 1."""
    values = values - values.mean()
    return values / values.square().sum().sqrt()
