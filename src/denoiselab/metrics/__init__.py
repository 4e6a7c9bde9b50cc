"""Image quality metrics and the evaluation protocols that define how scores are computed."""

from denoiselab.metrics.image_quality import mse, psnr, ssim, to_uint8

__all__ = ["mse", "psnr", "ssim", "to_uint8"]
