"""Judging without clean images: how well a model predicts noisy pixels that it was not shown.

Of every 4x4 pixels one is replaced by the mean of its four neighbours before the model sees the image, and its
prediction there is compared with what was replaced. Where noise is independent from pixel to pixel and its mean is the
clean pixel, the expected squared error is that against the clean pixel plus the variance of the noise, the same for
all models: who predicts better is nearer to the clean image (Batson, Royer: Noise2Self: Blind Denoising by
Self-Supervision, ICML 2019).

Also what else can be told without clean images: how noise and what was taken away are correlated.
Images are float32 in [0, 1] plus noise: arrays (H, W, C), or tensors (N, C, H, W) for `hide` and `decibels_of`.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from denoiselab.imaging.tensors import interleaved, planar
from denoiselab.noise.level_estimation import estimate_sigma_255

GRID = 4  # pixels: one of a square of this side is held out
PLACES = (..., slice(1, None, GRID), slice(1, None, GRID))
FLAT = 16  # pixels, side of the squares of which the flattest tell how noise is correlated
FLATTEST = 0.1  # share of the squares
AROUND = 7  # pixels: details are what differs from the mean of all that are no farther, across or down
LEAST = 1e-10  # mean squared error that counts 100 dB


def hide(noisy: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W), the held-out pixels of which are the mean of their four neighbours, in every channel."""
    padded = F.pad(noisy, (1, 1, 1, 1), mode="reflect")
    up, down = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    shown = noisy.clone()
    shown[PLACES] = (up[PLACES] + down[PLACES] + left[PLACES] + right[PLACES]) / 4
    return shown


def decibels_of(noisy: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """-10 log10 of the mean squared error at the held-out pixels, (N,), of what a model makes of `hide(noisy)`."""
    error = (noisy[PLACES].double() - predicted[PLACES].double()).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=LEAST).log10()


def without(noisy: np.ndarray) -> np.ndarray:
    """`hide` for an array."""
    return interleaved(hide(planar(noisy)))


def decibels(noisy: np.ndarray, predicted: np.ndarray) -> float:
    """`decibels_of` for arrays."""
    return decibels_of(planar(noisy), planar(predicted)).item()


def measures(noisy: np.ndarray, restored: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """The numbers of a scores.HeldOutScore: of an image, what a model makes of it, and what of it `without` pixels."""
    image, output = planar(noisy), planar(restored)
    return {
        "held_out": decibels(noisy, predicted),
        "sigma_255": estimate_sigma_255(image).item(),
        "sigma_255_left": estimate_sigma_255(output).item(),
        "noise_correlation": noise_correlation(image),
        "residual_correlation": neighbour_correlation(image - output),
        "structure": structure(image, output),
    }


def noise_correlation(noisy: torch.Tensor) -> float:
    """How the noise of an image (1, C, H, W) resembles that of the next pixel, across and down: about 0 where pixels
    are independent, 1 where they are the same.

    Told by the flattest tenth of all squares of 16 pixels, freed of their slope; too high where these still have
    texture. NaN where every square is of one colour, or none fits in.
    """
    if min(noisy.shape[-2:]) < FLAT:
        return math.nan
    squares = noisy.double().unfold(2, FLAT, FLAT).unfold(3, FLAT, FLAT).reshape(-1, FLAT, FLAT)
    along = torch.linspace(-1, 1, FLAT, dtype=squares.dtype).expand(FLAT, FLAT)
    for plane in (torch.ones_like(along), along, along.T):
        squares = squares - (squares * plane).mean(dim=(1, 2), keepdim=True) / plane.square().mean() * plane
    energy = squares.square().mean(dim=(1, 2))
    varied = squares[energy > LEAST][energy[energy > LEAST].argsort()]
    return neighbour_correlation(varied[: math.ceil(FLATTEST * len(varied))])


def neighbour_correlation(values: torch.Tensor) -> float:
    """Mean product of neighbouring values (..., H, W), across and down, by their mean square; NaN where all are 0."""
    across = (values[..., 1:] * values[..., :-1]).mean()
    down = (values[..., 1:, :] * values[..., :-1, :]).mean()
    return ((across + down) / 2 / values.square().mean()).item()


def structure(noisy: torch.Tensor, restored: torch.Tensor) -> float:
    """Correlation of what was taken away, noisy - restored, with the details of what is left, both (1, C, H, W).

    About 0 where noise alone was taken, above where the picture's edges went with it. NaN where either has none, or the
    image is too small to have any.
    """
    if min(restored.shape[-2:]) <= AROUND:
        return math.nan
    kept = restored.double()
    blurred = F.avg_pool2d(F.pad(kept, (AROUND,) * 4, mode="reflect"), 2 * AROUND + 1, stride=1)
    return (_centred(noisy.double() - kept) * _centred(kept - blurred)).sum().item()


def _centred(values: torch.Tensor) -> torch.Tensor:
    """Less their mean, and of length 1."""
    values = values - values.mean()
    return values / values.square().sum().sqrt()
