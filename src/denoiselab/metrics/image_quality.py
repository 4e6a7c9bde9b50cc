"""PSNR, SSIM and MSE of arrays (H, W) or (H, W, C), with the conventions of published denoising results.

For tensors see denoiselab.metrics.batched.
"""

import cv2
import numpy as np

from denoiselab.imaging import depths
from denoiselab.runtime.errors import UserError

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # the window has 11x11 pixels
SSIM_K1, SSIM_K2 = 0.01, 0.03
STRIP = 2**16  # values filtered at once by SSIM, so that its maps fit in the cache
WINDOW = np.exp(-(np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) ** 2) / (2 * SSIM_SIGMA**2))
WINDOW /= WINDOW.sum()
HIGHEST_PSNR = 100.0  # dB; used for identical images, to keep means and differences finite


def mse(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Mean squared error over all pixels and channels, relative to data_range squared."""
    _same_shape(clean, restored)
    if clean.dtype == restored.dtype and clean.dtype in (np.uint8, np.float32):
        squares = cv2.norm(clean, restored, cv2.NORM_L2SQR)  # summed in float64
        if clean.dtype == np.uint8:
            squares = round(squares)  # OpenCV squares a square root
        return squares / (clean.size * data_range**2)
    difference = np.subtract(clean, restored, dtype=np.float64)
    difference /= data_range
    return float(np.mean(np.square(difference, out=difference)))


def psnr(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB over all pixels, without border crop; inf for identical images."""
    error = mse(clean, restored, data_range=data_range)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def capped_psnr(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """`psnr`, at most HIGHEST_PSNR."""
    return min(psnr(clean, restored, data_range=data_range), HIGHEST_PSNR)


def tone_bias(clean: np.ndarray, restored: np.ndarray) -> tuple[float, float]:
    """Mean error of the darkest and of the brightest tenth of the clean values: how much blacks and whites are shifted.

    `clean` is uint8, or float at other depths; `restored` of any type; both from 0 to 255; so is the result. All values
    equal to the tenth's limit (float: to 1/257) are included.
    """
    _same_shape(clean, restored)
    error = np.subtract(restored, clean, dtype=np.float64)
    levels = (clean if clean.dtype == np.uint8 else depths.from_unit(clean / 255, np.uint16)).ravel()
    counts = np.bincount(levels, minlength=256)
    sums = np.bincount(levels, weights=error.ravel(), minlength=256)

    def tail(counts: np.ndarray, sums: np.ndarray) -> float:
        end = int(np.searchsorted(np.cumsum(counts), clean.size / 10)) + 1
        return float(sums[:end].sum() / counts[:end].sum())

    return tail(counts, sums), tail(counts[::-1], sums[::-1])


def ssim(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004), in float64.

    11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region, mean over channels. UserError for images smaller
    than the window.
    """
    _same_shape(clean, restored)
    inside = clean[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]
    if not inside.size:
        raise UserError(f"{clean.shape[1]}x{clean.shape[0]} is smaller than the window of SSIM, {WINDOW.size} pixels")
    rows = max(2 * SSIM_RADIUS, STRIP // inside[0].size)
    strips = [slice(top, min(top + rows, len(inside)) + 2 * SSIM_RADIUS) for top in range(0, len(inside), rows)]
    return sum(_ssim_sum(clean[strip], restored[strip], data_range) for strip in strips) / inside.size


def _ssim_sum(clean: np.ndarray, restored: np.ndarray, data_range: float) -> float:
    """Sum of the SSIM map (equation 13)."""
    x, y = clean.astype(np.float64), restored.astype(np.float64)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _local_mean(x * y) - product
    variances = _local_mean(x**2 + y**2) - squares
    return float(np.sum((2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))))


def _local_mean(values: np.ndarray) -> np.ndarray:
    """Window-weighted local means over the valid region."""
    means = cv2.sepFilter2D(values, cv2.CV_64F, WINDOW, WINDOW)
    return means[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Convert a float image in [0, 1] to uint8: clip, times 255, round. UserError for values that are not finite."""
    if not np.isfinite(image).all():
        raise UserError("the image has values that are not finite")
    return depths.from_unit(image, np.uint8)


def _same_shape(clean: np.ndarray, restored: np.ndarray) -> None:
    if clean.shape != restored.shape:
        raise UserError(f"images have different shapes: {clean.shape} and {restored.shape}")
