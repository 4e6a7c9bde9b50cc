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
    rows = (noisy[..., :-1, :] - noisy[..., 1:, :])[..., ::2, :]  # of whole pairs, of an odd number, too
    diagonal = (rows[..., :-1] - rows[..., 1:])[..., ::2] / 2
    return 255 / QUARTILE * diagonal.abs().flatten(2).median(-1).values.mean(1)
