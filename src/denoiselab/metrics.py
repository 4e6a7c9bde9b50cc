"""PSNR, SSIM and MSE, by the conventions of the published denoising tables.

Of arrays (H, W) or (H, W, C); denoiselab.batch_metrics has those of tensors.
"""

import numpy as np

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # of the 11x11 window
SSIM_K1, SSIM_K2 = 0.01, 0.03
HIGHEST_PSNR = 100.0  # dB; what identical images count with, so that means and differences are numbers


def mse(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Mean squared error over all pixels and channels, as a share of data_range squared."""
    _same_shape(clean, restored)
    difference = (clean.astype(np.float64) - restored.astype(np.float64)) / data_range
    return float(np.mean(difference**2))


def psnr(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, no border crop; inf for identical images."""
    error = mse(clean, restored, data_range=data_range)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def capped_psnr(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """`psnr`, at most HIGHEST_PSNR."""
    return min(psnr(clean, restored, data_range=data_range), HIGHEST_PSNR)


def ssim(clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
    """Structural similarity: 11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region, mean over channels.

    Wang et al., IEEE TIP 2004; scikit-image with the options that give its definition.
    ValueError for images smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _same_shape(clean, restored)
    return float(
        structural_similarity(
            clean,
            restored,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            data_range=data_range,
            channel_axis=None if clean.ndim == 2 else -1,
            K1=SSIM_K1,
            K2=SSIM_K2,
        )
    )


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float image in [0, 1] to uint8: clamped, times 255, rounded. ValueError for values that are not finite."""
    if not np.isfinite(image).all():
        raise ValueError("the image has values that are not finite")
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _same_shape(clean: np.ndarray, restored: np.ndarray) -> None:
    if clean.shape != restored.shape:
        raise ValueError(f"images of different shapes: {clean.shape} and {restored.shape}")
