"""PSNR, SSIM and MSE, by the conventions of the published denoising tables.

Of arrays (H, W) or (H, W, C); denoiselab.metrics.batched has those of tensors.
"""

import cv2
import numpy as np

from denoiselab.runtime.errors import UserError

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # of the 11x11 window
SSIM_K1, SSIM_K2 = 0.01, 0.03
STRIP = 2**16  # values that SSIM filters at once: its maps stay in the cache
WINDOW = np.exp(-(np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) ** 2) / (2 * SSIM_SIGMA**2))
WINDOW /= WINDOW.sum()
HIGHEST_PSNR = 100.0  # dB; what identical images count with, so that means and differences are numbers


def mse(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Mean squared error over all pixels and channels, as a share of data_range squared."""
    _same_shape(clean, restored)
    if clean.dtype == restored.dtype == np.uint8:
        squares = round(cv2.norm(clean, restored, cv2.NORM_L2SQR))  # a whole number, but for the root taken on the way
        return squares / (clean.size * data_range**2)
    difference = np.subtract(clean, restored, dtype=np.float64)
    difference /= data_range
    return float(np.mean(np.square(difference, out=difference)))


def psnr(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, no border crop; inf for identical images."""
    error = mse(clean, restored, data_range=data_range)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def capped_psnr(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """`psnr`, at most HIGHEST_PSNR."""
    return min(psnr(clean, restored, data_range=data_range), HIGHEST_PSNR)


def ssim(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Structural similarity: 11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region, mean over channels.

    Wang et al., IEEE TIP 2004, in float64. ValueError for images smaller than the window.
    """
    _same_shape(clean, restored)
    inside = clean[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]
    if not inside.size:
        raise UserError(f"{clean.shape[1]}x{clean.shape[0]} is smaller than the window of the SSIM")
    rows = max(2 * SSIM_RADIUS, STRIP // inside[0].size)
    strips = [slice(top, min(top + rows, len(inside)) + 2 * SSIM_RADIUS) for top in range(0, len(inside), rows)]
    return sum(_ssim_sum(clean[strip], restored[strip], data_range) for strip in strips) / inside.size


def _ssim_sum(clean: np.ndarray, restored: np.ndarray, data_range: float) -> float:
    """Sum of the SSIM's map (equation 13)."""
    x, y = clean.astype(np.float64), restored.astype(np.float64)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _local_mean(x * y) - product
    variances = _local_mean(x**2 + y**2) - squares
    return float(np.sum((2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))))


def _local_mean(values: np.ndarray) -> np.ndarray:
    """Means under the window, wherever that lies inside."""
    means = cv2.sepFilter2D(values, cv2.CV_64F, WINDOW, WINDOW)
    return means[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float image in [0, 1] to uint8: clamped, times 255, rounded. ValueError for values that are not finite."""
    if not np.isfinite(image).all():
        raise UserError("the image has values that are not finite")
    scaled = np.clip(image, 0, 1) * 255
    return np.round(scaled, out=scaled).astype(np.uint8)


def _same_shape(clean: np.ndarray, restored: np.ndarray) -> None:
    if clean.shape != restored.shape:
        raise UserError(f"images of different shapes: {clean.shape} and {restored.shape}")
