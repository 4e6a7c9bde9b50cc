"""Classical denoisers from SciPy, OpenCV and scikit-image, each with one parameter, its strength.

The strength is calibrated on the validation images at each test noise level and interpolated between levels. For
methods that depend on intensity (bilateral, nlm, tv, wavelet) it is a multiple of the noise level.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
import torch
from joblib import Parallel, delayed
from pydantic import Field
from scipy import ndimage
from skimage import restoration
from torch import nn

from denoiselab.config.base import Block, Channels

Filter = Callable[[np.ndarray, float, float], np.ndarray]  # (H, W, C) image, strength, sigma in [0, 1] -> (H, W, C)


class Config(Block):
    channels: Channels
    method: Literal["gaussian", "median", "bilateral", "nlm", "tv", "wavelet"]
    strengths: list[float] = Field(min_length=1)  # candidates for calibration


def gaussian(image: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    """Gaussian blur; strength: standard deviation in pixels."""
    return ndimage.gaussian_filter(image, (strength, strength, 0), mode="mirror")


def median(image: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    """Median filter over a disc, per channel; strength: radius in pixels (1.5: 3x3)."""
    offsets = np.arange(-int(strength), int(strength) + 1)
    disc = offsets[:, None] ** 2 + offsets[None, :] ** 2 <= strength**2
    return ndimage.median_filter(image, footprint=disc[:, :, None], mode="mirror")


def bilateral(image: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    """Bilateral filter, spatial sigma 2 pixels; strength: range sigma in units of the noise level."""
    return cv2.bilateralFilter(
        image, d=9, sigmaColor=max(strength * sigma, 1e-4), sigmaSpace=2, borderType=cv2.BORDER_REFLECT_101
    )


def nlm(image: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    """Non-local means, 5x5 patches, 13x13 search window; strength: h in units of the noise level."""
    return restoration.denoise_nl_means(
        image,
        patch_size=5,
        patch_distance=6,
        h=max(strength * sigma, 1e-4),
        sigma=sigma,
        fast_mode=True,
        channel_axis=-1,
    )


def tv(image: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    """Total variation (Chambolle's projection); strength: weight in units of the noise level."""
    return restoration.denoise_tv_chambolle(image, weight=max(strength * sigma, 1e-4), eps=1e-4, channel_axis=-1)


def wavelet(image: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    """BayesShrink soft thresholding, in YCbCr for colour; strength: factor of the noise level."""
    colour = image.shape[-1] == 3
    return restoration.denoise_wavelet(
        image if colour else image[:, :, 0],
        sigma=max(strength * sigma, 1e-4),
        convert2ycbcr=colour,
        channel_axis=-1 if colour else None,
        rescale_sigma=True,
    )


METHODS: dict[str, Filter] = {
    "gaussian": gaussian,
    "median": median,
    "bilateral": bilateral,
    "nlm": nlm,
    "tv": tv,
    "wavelet": wavelet,
}


class Classical(nn.Module):
    """A classical method with the models' interface; levels and strengths are set by calibration."""

    classical = True
    calibrated = True
    noise_aware = True
    reach = None

    def __init__(self, config: Config):
        super().__init__()
        self.method = METHODS[config.method]
        self.candidates = sorted(config.strengths)
        self.levels: torch.Tensor
        self.strengths: torch.Tensor
        self.register_buffer("levels", torch.empty(0, dtype=torch.float64))
        self.register_buffer("strengths", torch.empty(0, dtype=torch.float64))

    def set_strengths(self, by_level: dict[float, float]) -> None:
        """Set the calibration: strength by noise level in 8-bit units."""
        levels = sorted(by_level)
        self.levels = torch.tensor(levels, dtype=torch.float64)
        self.strengths = torch.tensor([by_level[level] for level in levels], dtype=torch.float64)

    def forward(self, noisy: torch.Tensor, sigma_255: float | None = None) -> torch.Tensor:
        """Denoise (N, C, H, W); sigma_255 None: estimated for each image.

        Images are processed in parallel inside denoiselab.runtime.parallel.joblib_backend.
        """
        assert len(self.levels), "not calibrated"
        planes = noisy.detach().cpu().permute(0, 2, 3, 1).contiguous().numpy()
        restored = Parallel(prefer="threads")(delayed(self._denoise)(image, sigma_255) for image in planes)
        stacked = torch.from_numpy(np.stack(restored).astype(np.float32))
        return stacked.permute(0, 3, 1, 2).to(noisy)

    def _denoise(self, image: np.ndarray, sigma_255: float | None) -> np.ndarray:
        level = 255 * _estimate(image) if sigma_255 is None else sigma_255
        strength = float(np.interp(level, self.levels.cpu().numpy(), self.strengths.cpu().numpy()))
        return self.method(image, strength, level / 255).reshape(image.shape)  # some methods drop a single channel


def _estimate(image: np.ndarray) -> float:
    """Noise level of an image in [0, 1] units: wavelet estimator of Donoho and Johnstone (1994)."""
    return float(restoration.estimate_sigma(image, channel_axis=-1, average_sigmas=True))


def build(config: Config) -> nn.Module:
    return Classical(config)
