"""The noise level of an image, told from the image itself."""

import torch

QUARTILE = 0.6745  # the median absolute value of a standard normal variable


def estimate_sigma_255(noisy: torch.Tensor) -> torch.Tensor:
    """Standard deviation (N,) of white Gaussian noise in images (N, C, H, W) of [0, 1], in 8-bit units.

    Median absolute value of the finest diagonal Haar wavelet coefficients over 0.6745, mean of the channels
    (Donoho, Johnstone: Ideal Spatial Adaptation by Wavelet Shrinkage. Biometrika 1994). Too low where noise was
    clipped. Images without a 2x2 block have no coefficients: 0.
    """
    height, width = noisy.shape[-2:]
    if height < 2 or width < 2:
        return noisy.new_zeros(noisy.shape[0])
    medians = [_diagonal(channel).abs_().flatten(1).median(-1).values for channel in noisy.unbind(1)]
    return 255 / QUARTILE * torch.stack(medians, 1).mean(1)


def _diagonal(channel: torch.Tensor) -> torch.Tensor:
    """Of each whole 2x2 block of (N, H, W), so a quarter of its size; one channel at a time, large images fit."""
    rows = channel[:, :-1:2] - channel[:, 1::2]
    return (rows[..., :-1:2] - rows[..., 1::2]).div_(2)
