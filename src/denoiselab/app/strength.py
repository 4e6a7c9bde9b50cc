"""Partial denoising: a blend of an image with its restoration, and what it keeps of noise and detail."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from denoiselab.noise.analysis import Estimate, estimate

SIDE = 3  # pixels; what differs from the mean over this square is fine detail, or noise
BLOCK, FLAT = 16, 0.05  # side in pixels, and share of the blocks that are considered flat
LEAST = 0.25  # fine detail must be at least this share of the variance to be measured


def blend(noisy: np.ndarray, restored: np.ndarray, strength: float) -> np.ndarray:
    """(H, W, C): `noisy` at strength 0, `restored` at 1; noise and lost detail are proportional in between."""
    return restored if strength == 1 else noisy + np.float32(strength) * (restored - noisy)


@dataclass(frozen=True)
class Kept:
    """What a blend has kept. Levels of 255."""

    strength: float
    noise_255: float  # before
    left_255: float  # after
    detail: float | None  # fraction of the amplitude of fine detail; None: too little detail beside the noise

    def darkened(self, factor: float) -> "Kept":
        """The same in the image before it was multiplied by `factor`."""
        return replace(self, noise_255=self.noise_255 / factor, left_255=self.left_255 / factor)

    def __str__(self) -> str:
        detail = "" if self.detail is None else f", {100 * self.detail:.0f} % of fine detail kept"
        return f"strength {self.strength:g}: noise {self.left_255:.1f} of {self.noise_255:.1f} left{detail}"


def in_words(kept: Sequence[Kept]) -> str:
    """What several images or channels keep on average; empty if there are none."""
    if not kept:
        return ""
    before, left = np.sqrt(np.mean([(one.noise_255**2, one.left_255**2) for one in kept], axis=0)).tolist()
    details = [one.detail for one in kept if one.detail is not None]
    return str(Kept(kept[0].strength, before, left, float(np.mean(details)) if details else None))


def kept(noisy: np.ndarray, restored: np.ndarray, strength: float, noise: Estimate | None = None) -> Kept:
    """What `blend(noisy, restored, strength)` keeps, images (H, W, C). `noise`: of `noisy`, if already estimated.

    Noise left is the level estimated in the blend. Detail is the amplitude of the clean image's fine detail in the
    restoration: the covariance of both images' fine detail over its variance in `noisy`, each less that of the flattest
    blocks, which have noise only.
    """
    before = (noise or estimate(noisy)).sigma_255
    left = min(before, estimate(blend(noisy, restored, strength)).sigma_255)
    full = _detail(noisy, restored)
    return Kept(strength, before, left, None if full is None else 1 - strength * (1 - full))


def _detail(noisy: np.ndarray, restored: np.ndarray) -> float | None:
    """Fraction of fine detail that the restoration keeps."""
    before, after = (pixels - cv2.blur(pixels, (SIDE, SIDE)).reshape(pixels.shape) for pixels in (noisy, restored))
    variances, common = _block_means(before * before), _block_means(before * after)
    flattest = np.argsort(variances)[: max(1, int(FLAT * variances.size))]
    if not variances.size or variances.mean() - variances[flattest].mean() < LEAST * variances.mean():
        return None
    slope = (common.mean() - common[flattest].mean()) / (variances.mean() - variances[flattest].mean())
    return float(np.clip(slope, 0, 1))


def _block_means(pixels: np.ndarray) -> np.ndarray:
    """Means (N,) of the whole blocks of an image (H, W, C)."""
    rows, columns = (size // BLOCK for size in pixels.shape[:2])
    whole = pixels[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, pixels.shape[2])
    return whole.mean(axis=(1, 3, 4), dtype=np.float64).reshape(-1)
