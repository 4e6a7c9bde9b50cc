"""Blind noise estimation: kind and level of the noise in a single image.

Based on flat blocks, whose residual after subtracting a fitted plane is noise (Olsen: Estimation of Noise in Images: An
Evaluation. CVGIP 1993); the level of white noise comes from the wavelet estimator.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BLOCK = 16  # side in pixels
FLAT = 0.05  # fraction of the blocks, those with the lowest variance, that are considered flat
MIN_BLOCKS = 10  # for an estimate
MARGIN = 0.03  # blocks with a mean this close to black or white are excluded: their noise is clipped
CLEAN_255 = 0.8  # noise level below which denoising gains nothing
DARK = 0.25  # maximum below which the image may have another white level
WEAK_255 = 3.0  # up to this level the correlation of neighbours alone decides:
CORRELATED = 0.4  # it is 0 for white noise, 0.5 and more for camera JPEGs. Above, the wavelet estimate must also be ...
WHITE = 0.7  # ... below this fraction of the level: texture has fine detail, correlated noise has none
BINS = 8  # of brightness
MIN_SPAN = 0.2  # minimum brightness range of the bins
MIN_RISE = 1.6  # minimum ratio of the variances at both ends for signal-dependent noise
MIN_FIT = 0.8  # minimum correlation of brightness and variance for it
EXTREME = 0.004  # distance from black or white of an impulse
NEAR = 0.1  # distance from black or white of possibly clipped noise
ISOLATED = 0.25  # minimum difference from the median of the neighbours
IMPULSES = 0.002  # minimum fraction of values for impulse noise


@dataclass(frozen=True)
class Estimate:
    """Estimated noise of an image."""

    sigma_255: float  # standard deviation in 8-bit units; averaged over the image for signal-dependent noise
    kind: str  # clean, gaussian, signal-dependent, correlated or impulse
    reason: str  # the evidence, in words
    photons: float | None = None  # at white, for signal-dependent noise
    read_noise_255: float | None = None  # standard deviation at black, for signal-dependent noise
    impulses: float = 0.0  # fraction of the values replaced by black or white
    correlation: float = 0.0  # between the noise of neighbouring pixels


def estimate(pixels: np.ndarray) -> Estimate:
    """Estimate kind and level of the noise of an image (H, W, C) in [0, 1].

    - impulse: isolated black and white values, as in the adaptive median filter (Hwang, Haddad: Adaptive Median
      Filters. IEEE TIP 1995), unless nearby values are isolated as often, as with clipped Gaussian noise.
    - correlated: neighbouring pixels of flat blocks are correlated, as after demosaicking and JPEG compression (Nam et
      al.: A Holistic Approach to Cross-Channel Image Noise Modeling. CVPR 2016).
    - signal-dependent: the variance of flat blocks rises with their brightness; a line fit gives photons and read noise
      (Foi et al.: Practical Poissonian-Gaussian Noise Modeling. IEEE TIP 2008).
    - gaussian: otherwise; level by the wavelet estimator of denoiselab.noise.level_estimation.
    - clean: the level is below CLEAN_255.
    """
    impulses = _impulses(pixels)
    blocks = [_blocks(pixels[:, :, channel]) for channel in range(pixels.shape[2])]
    level, correlation = np.mean([_flat(b) for b in blocks], axis=0).tolist()
    white = _white_255(pixels)
    if impulses > IMPULSES:
        reason = f"{100 * impulses:.1f} % of the values are isolated black or white ones"
        return Estimate(level, "impulse", reason, impulses=impulses, correlation=correlation)
    weak = level < WEAK_255
    correlated = correlation > (CORRELATED if weak else CORRELATED / 2) and (weak or white < WHITE * level)
    if level < CLEAN_255 and (correlated or white < CLEAN_255):
        dark = f" (no value is above {pixels.max():.1%} of white)" if pixels.max() < DARK else ""
        reason = f"noise of level {level:.1f} of 255{dark} is negligible"
        return Estimate(level, "clean", reason, correlation=correlation)
    if correlated:
        reason = f"correlated noise of level {level:.1f} of 255, as in camera JPEGs (correlation {correlation:.2f})"
        return Estimate(level, "correlated", reason, correlation=correlation)
    line = _line(np.concatenate([b.summary for b in blocks], axis=1))
    if line:
        slope, at_black = line
        read_noise = 255 * max(0.0, at_black) ** 0.5
        reason = (
            f"noise of level {white:.1f} of 255 that grows with brightness "
            f"({1 / slope:.0f} photons at white, read noise {read_noise:.1f} of 255)"
        )
        return Estimate(white, "signal-dependent", reason, 1 / slope, read_noise, correlation=correlation)
    return Estimate(white, "gaussian", f"white noise of level {white:.1f} of 255", correlation=correlation)


class _Blocks(NamedTuple):
    """Blocks of a channel: residuals of the plane fit (N, BLOCK, BLOCK); means and residual variances (2, N)."""

    residuals: np.ndarray
    summary: np.ndarray


def _blocks(channel: np.ndarray) -> _Blocks:
    """Blocks of a channel (H, W), without those near black or white."""
    side = min(BLOCK, *channel.shape)
    height, width = (size // side * side for size in channel.shape)
    cut = channel[:height, :width].reshape(height // side, side, width // side, side)
    flat = cut.swapaxes(1, 2).reshape(-1, side * side).astype(np.float64)
    y, x = np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2
    plane = np.stack([vector / max(np.linalg.norm(vector), 1e-9) for vector in (np.ones(side * side), y, x)])
    residuals = flat - (flat @ plane.T) @ plane
    means, variances = flat.mean(1), np.square(residuals).sum(1) / max(1, side * side - 3)
    inside = (means > MARGIN) & (means < 1 - MARGIN)
    chosen = inside if inside.sum() >= MIN_BLOCKS else np.full(len(means), True)
    return _Blocks(residuals[chosen].reshape(-1, side, side), np.stack([means, variances])[:, chosen])


def _flat(blocks: _Blocks) -> tuple[float, float]:
    """Noise level (sigma_255) of the flattest blocks, and correlation of horizontal and vertical neighbours."""
    variances = blocks.summary[1]
    kept = np.argsort(variances, kind="stable")[: max(MIN_BLOCKS, int(FLAT * len(variances)))]
    noise, variance = blocks.residuals[kept], float(variances[kept].mean())
    if not variance:
        return 0.0, 0.0
    covariance = ((noise[:, 1:] * noise[:, :-1]).mean() + (noise[:, :, 1:] * noise[:, :, :-1]).mean()) / 2
    return 255 * variance**0.5, float(covariance / np.square(noise).mean())


def _line(summary: np.ndarray) -> tuple[float, float] | None:
    """Line fit (slope, intercept) of noise variance over brightness; None if it does not rise enough."""
    means, variances = summary[:, np.argsort(summary[0], kind="stable")]
    if len(means) < BINS * MIN_BLOCKS:
        return None
    points = []
    for chosen in np.array_split(np.arange(len(means)), BINS):
        flattest = chosen[np.argsort(variances[chosen], kind="stable")[: max(MIN_BLOCKS, len(chosen) // 8)]]
        points.append((means[flattest].mean(), variances[flattest].mean()))
    x, y = np.array(points).T
    slope, at_black = np.polyfit(x, y, 1, w=1 / np.maximum(y, 1e-9))
    low, high = at_black + slope * x[[0, -1]]
    flat = high < MIN_RISE * max(low, 0) or np.corrcoef(x, y)[0, 1] < MIN_FIT
    if x[-1] - x[0] < MIN_SPAN or at_black < -y.mean() / 4 or flat:
        return None
    return float(slope), float(at_black)


def _impulses(pixels: np.ndarray) -> float:
    """Fraction of isolated black or white values, less those expected from clipped noise."""
    import cv2

    extreme = near = 0.0
    for channel in np.moveaxis(np.ascontiguousarray(pixels, np.float32), 2, 0):
        isolated = np.abs(channel - cv2.medianBlur(np.ascontiguousarray(channel), 3)) > ISOLATED
        edge = np.minimum(channel, 1 - channel)[isolated]
        distance = np.abs(edge)
        extreme += np.count_nonzero(distance <= EXTREME) / channel.size
        near += np.count_nonzero((distance > EXTREME) & (distance < NEAR)) / channel.size
    return max(0.0, extreme - 2 * near) / pixels.shape[2]


def _white_255(pixels: np.ndarray) -> float:
    from denoiselab.imaging.tensors import planar
    from denoiselab.noise.level_estimation import estimate_sigma_255

    return estimate_sigma_255(planar(pixels)).item()
