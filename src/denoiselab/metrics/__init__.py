"""Image quality metrics, and the protocols that they are computed by."""

from denoiselab.metrics.image_quality import mse, psnr, ssim, to_uint8

__all__ = ["mse", "psnr", "ssim", "to_uint8"]
