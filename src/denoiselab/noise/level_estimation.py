"""Blind estimation of the noise level of an image."""

import torch

QUARTILE = 0.6745  # the median absolute value of a standard normal variable


def estimate_sigma_255(noisy: torch.Tensor) -> torch.Tensor:
    """Standard deviation (N,), in 8-bit units, of white Gaussian noise in images (N, C, H, W) in [0, 1].

    Median absolute value of the finest diagonal Haar wavelet coefficients divided by 0.6745, averaged over the channels
    (Donoho, Johnstone: Ideal Spatial Adaptation by Wavelet Shrinkage. Biometrika 1994). Too low for clipped noise; 0
    for images smaller than 2x2.
    """
    height, width = noisy.shape[-2:]
    if height < 2 or width < 2:
        return noisy.new_zeros(noisy.shape[0])
    medians = [_diagonal(channel).abs_().flatten(1).median(-1).values for channel in noisy.unbind(1)]
    return 255 / QUARTILE * torch.stack(medians, 1).mean(1)


def _diagonal(channel: torch.Tensor) -> torch.Tensor:
    """Diagonal Haar coefficients of a channel (N, H, W), one for each complete 2x2 block."""
    rows = channel[:, :-1:2] - channel[:, 1::2]
    return (rows[..., :-1:2] - rows[..., 1::2]).div_(2)
