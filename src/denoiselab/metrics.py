"""PSNR, SSIM and MSE, by the conventions of the published denoising tables.

The reference functions take arrays (H, W) or (H, W, C); the batched ones take tensors (N, C, H, W) on
any device and give a value an image.
"""

import numpy as np
import torch
import torch.nn.functional as F

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


def batch_psnr(clean: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each image, (N,), data range 1."""
    error = (clean - restored).double().square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error)


def batch_ssim(clean: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
    """SSIM of each image, (N,), data range 1, as `ssim`."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=clean.dtype, device=clean.device)
    weights = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    weights /= weights.sum()

    def blur(x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, 1).unsqueeze(1)
        return F.conv2d(F.conv2d(flat, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1)).view(*x.shape[:2], -1)

    a, b = clean - 0.5, restored - 0.5  # less cancellation below; the means get it back
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    score = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return score.double().mean(dim=(1, 2))


def _same_shape(clean: np.ndarray, restored: np.ndarray) -> None:
    if clean.shape != restored.shape:
        raise ValueError(f"images of different shapes: {clean.shape} and {restored.shape}")
