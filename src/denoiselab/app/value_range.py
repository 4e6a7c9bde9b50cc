"""Values far below black or above white, such as hot pixels and highlights of HDR images, are carried around a
denoiser, which knows values in [0, 1] plus noise only.
"""

from typing import NamedTuple

import cv2
import numpy as np

from denoiselab.imaging.tensors import planar
from denoiselab.noise.level_estimation import estimate_sigma_255

DEVIATIONS = 5.0  # of the noise, by which values may be below black or above white: noise alone exceeds 1 in 10^6
MARGIN = 0.02  # at least
HIGHEST_SIGMA_255 = 55.0  # of the released networks' training noise; limits the margin
SIDE, GROWTH = 5, 3  # pixels: side of the smallest neighbourhood, and factor to the next larger one
SUPPORT = 0.2  # fraction of a neighbourhood that must be in the range


class Split(NamedTuple):
    """An image in two parts, which add up to it; both (H, W, C) float32."""

    usual: np.ndarray  # values in [0, 1] plus noise
    excess: np.ndarray | None  # what the values exceed it by, 0 almost everywhere; None: nothing


def split(pixels: np.ndarray, sigma_255: float | None = None) -> Split:
    """Split an image (H, W, C) float32 with noise of that level (None: estimated).

    In `usual`, values far out of [0, 1] are replaced by the mean of the usual ones around them: spots and areas vanish,
    as their edges would change the result around them. Without such values, `usual` is `pixels` itself.
    """
    margin = _margin(pixels, sigma_255)
    if pixels.min() >= -margin and pixels.max() <= 1 + margin:
        return Split(pixels, None)
    usual = np.clip(pixels, np.float32(-margin), np.float32(1 + margin))
    for channel in range(pixels.shape[2]):
        far = usual[:, :, channel] != pixels[:, :, channel]
        if far.any():
            _fill(usual[:, :, channel], far)
    return Split(usual, pixels - usual)


def far(pixels: np.ndarray, sigma_255: float | None = None) -> float:
    """Fraction of the values that `split` replaces: they are not denoised."""
    margin = _margin(pixels, sigma_255)
    return float(np.mean((pixels < -margin) | (pixels > 1 + margin)))


def _margin(pixels: np.ndarray, sigma_255: float | None) -> float:
    """By which values may be below black or above white."""
    if pixels.min() >= -MARGIN and pixels.max() <= 1 + MARGIN:
        return MARGIN
    level = estimate_sigma_255(planar(pixels)).item() if sigma_255 is None else sigma_255
    return max(MARGIN, DEVIATIONS * min(level, HIGHEST_SIGMA_255) / 255)


def _fill(channel: np.ndarray, far: np.ndarray) -> None:
    """Replace the values of a channel (H, W) that are `far` by the mean of the others in the smallest neighbourhood
    with enough of them, or by black and white where there is none."""
    channel[far] = channel[far].clip(0, 1)
    missing, side = far.copy(), SIDE
    known = (~far).astype(np.float32)
    values = channel * known
    while missing.any() and side < GROWTH * max(channel.shape):
        share, total = (cv2.blur(part, (side, side)) for part in (known, values))
        found = missing & (share >= SUPPORT)
        channel[found] = total[found] / share[found]
        missing &= ~found
        side *= GROWTH
