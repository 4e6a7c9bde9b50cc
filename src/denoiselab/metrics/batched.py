"""PSNR and SSIM of tensors (N, C, H, W) on any device, for training; reference implementation: `image_quality`."""

import torch
import torch.nn.functional as F

from denoiselab.metrics import image_quality


def psnr(clean: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each image, (N,); data range 1."""
    error = (clean - restored).double().square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error)


def ssim(clean: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
    """SSIM of each image, (N,); data range 1, definition of image_quality.ssim."""
    offsets = torch.arange(
        -image_quality.SSIM_RADIUS, image_quality.SSIM_RADIUS + 1, dtype=clean.dtype, device=clean.device
    )
    weights = torch.exp(-0.5 * (offsets / image_quality.SSIM_SIGMA) ** 2)
    weights /= weights.sum()

    def blur(x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, 1).unsqueeze(1)
        return F.conv2d(F.conv2d(flat, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1)).view(*x.shape[:2], -1)

    a, b = clean - 0.5, restored - 0.5  # reduces cancellation; added back to the means below
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    c1, c2 = image_quality.SSIM_K1**2, image_quality.SSIM_K2**2
    score = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return score.double().mean(dim=(1, 2))
