"""What noise a picture has, told from the picture itself, and which denoiser is for that.

All but the level of white noise is told from blocks: where the picture is flat, what is left of a block without its
plane is noise (Olsen: Estimation of Noise in Images: An Evaluation. CVGIP 1993).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BLOCK = 16  # pixels
FLAT = 0.05  # share of the blocks with the least variance, which are taken for flat
FEWEST = 10  # blocks that a statement is made of
MARGIN = 0.03  # of black and white: blocks as dark or bright as that are left out, their noise is clipped
CLEAN_255 = 0.8  # level below which there is nothing to gain
DARK = 0.25  # of white: what is no brighter may be of a camera whose white is another
WEAK_255 = 3.0  # level up to which the correlation of neighbours alone tells ...
CORRELATED = 0.4  # ... of white noise 0, of cameras' JPEG files 0.5 and more; above, the wavelet estimator must ...
WHITE = 0.7  # ... find less than this share of the level: texture has fine detail, smeared noise has none
BINS = 8  # of brightness
SPAN = 0.2  # of brightness at least, from the darkest to the brightest of them
RISE = 1.6  # of the variance from there to there, above which the noise depends on the signal
FIT = 0.8  # correlation of brightness and variance for that
EXTREME = 0.004  # within so much of black and white a value counts as such
NEAR = 0.1  # within so much it may be clipped noise
ISOLATED = 0.25  # off the median of its neighbours
IMPULSES = 0.002  # share of the values


@dataclass(frozen=True)
class Estimate:
    """The noise of a picture."""

    sigma_255: float  # standard deviation; of noise that depends on the signal, the mean over the picture
    kind: str  # clean, gaussian, signal-dependent, correlated or impulse
    reason: str  # what tells so, in words
    photons: float | None = None  # at white, of signal-dependent noise
    read_noise_255: float | None = None  # of signal-dependent noise, at black
    impulses: float = 0.0  # share of the values that are struck
    correlation: float = 0.0  # of the noise of neighbouring pixels


def estimate(pixels: np.ndarray) -> Estimate:
    """The noise of (H, W, C) in [0, 1]: its level and kind.

    - impulse: isolated black and white values, as the adaptive median filter finds them (Hwang, Haddad: Adaptive Median
      Filters. IEEE TIP 1995), unless values near them are isolated as often, which clipped Gaussian noise brings about.
    - correlated: the flat blocks' neighbours go together, as demosaicking and JPEG leave noise (Nam et al.: A Holistic
      Approach to Cross-Channel Image Noise Modeling. CVPR 2016).
    - signal-dependent: the variance of the flattest blocks rises with their brightness; a line through them gives the
      photons and the read noise (Foi et al.: Practical Poissonian-Gaussian Noise Modeling. IEEE TIP 2008).
    - gaussian: else; its level by the wavelet estimator of denoiselab.noise.level_estimation.
    """
    struck = _impulses(pixels)
    blocks = [_blocks(pixels[:, :, channel]) for channel in range(pixels.shape[2])]
    level, correlation = np.mean([_flat(b) for b in blocks], axis=0).tolist()
    white = _white_255(pixels)
    if struck > IMPULSES:
        reason = f"{100 * struck:.1f} % of the values are isolated black or white ones"
        return Estimate(level, "impulse", reason, impulses=struck, correlation=correlation)
    weak = level < WEAK_255
    smeared = correlation > (CORRELATED if weak else CORRELATED / 2) and (weak or white < WHITE * level)
    if level < CLEAN_255 and (smeared or white < CLEAN_255):
        dark = f" (no value is above {pixels.max():.1%} of white)" if pixels.max() < DARK else ""
        reason = f"noise of level {level:.1f} of 255{dark} is hardly any"
        return Estimate(level, "clean", reason, correlation=correlation)
    if smeared:
        reason = f"smeared noise of level {level:.1f} of 255, as in a camera's files (correlation {correlation:.2f})"
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
    return Estimate(white, "gaussian", f"even noise of level {white:.1f} of 255", correlation=correlation)


class _Blocks(NamedTuple):
    """Of a channel: what is left of each without its plane, (N, BLOCK, BLOCK), and means and variances (2, N)."""

    residuals: np.ndarray
    summary: np.ndarray


def _blocks(channel: np.ndarray) -> _Blocks:
    """Those that are neither black nor white."""
    side = min(BLOCK, *channel.shape)
    height, width = (size // side * side for size in channel.shape)
    cut = channel[:height, :width].reshape(height // side, side, width // side, side)
    flat = cut.swapaxes(1, 2).reshape(-1, side * side).astype(np.float64)
    y, x = np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2
    plane = np.stack([vector / max(np.linalg.norm(vector), 1e-9) for vector in (np.ones(side * side), y, x)])
    residuals = flat - (flat @ plane.T) @ plane
    means, variances = flat.mean(1), np.square(residuals).sum(1) / max(1, side * side - 3)
    inside = (means > MARGIN) & (means < 1 - MARGIN)
    chosen = inside if inside.sum() >= FEWEST else np.full(len(means), True)
    return _Blocks(residuals[chosen].reshape(-1, side, side), np.stack([means, variances])[:, chosen])


def _flat(blocks: _Blocks) -> tuple[float, float]:
    """Level (sigma_255) of the flattest blocks' noise, and the correlation of horizontal and vertical neighbours."""
    variances = blocks.summary[1]
    kept = np.argsort(variances, kind="stable")[: max(FEWEST, int(FLAT * len(variances)))]
    noise, variance = blocks.residuals[kept], float(variances[kept].mean())
    if not variance:
        return 0.0, 0.0
    beside = ((noise[:, 1:] * noise[:, :-1]).mean() + (noise[:, :, 1:] * noise[:, :, :-1]).mean()) / 2
    return 255 * variance**0.5, float(beside / np.square(noise).mean())


def _line(summary: np.ndarray) -> tuple[float, float] | None:
    """(slope, value at black) of the variance of noise over brightness, where that rises enough."""
    means, variances = summary[:, np.argsort(summary[0], kind="stable")]
    if len(means) < BINS * FEWEST:
        return None
    points = []
    for chosen in np.array_split(np.arange(len(means)), BINS):
        flattest = chosen[np.argsort(variances[chosen], kind="stable")[: max(FEWEST, len(chosen) // 8)]]
        points.append((means[flattest].mean(), variances[flattest].mean()))
    x, y = np.array(points).T
    slope, at_black = np.polyfit(x, y, 1, w=1 / np.maximum(y, 1e-9))
    low, high = at_black + slope * x[[0, -1]]
    if x[-1] - x[0] < SPAN or at_black < -y.mean() / 4 or high < RISE * max(low, 0) or np.corrcoef(x, y)[0, 1] < FIT:
        return None
    return float(slope), float(at_black)


def _impulses(pixels: np.ndarray) -> float:
    """Share of the values that are black or white and isolated, beyond what values near those would explain."""
    import cv2

    struck = near = 0.0
    for channel in np.moveaxis(np.ascontiguousarray(pixels, np.float32), 2, 0):
        off = np.abs(channel - cv2.medianBlur(np.ascontiguousarray(channel), 3)) > ISOLATED
        edge = np.minimum(channel, 1 - channel)[off]
        distance = np.abs(edge)
        struck += np.count_nonzero(distance <= EXTREME) / channel.size
        near += np.count_nonzero((distance > EXTREME) & (distance < NEAR)) / channel.size
    return max(0.0, struck - 2 * near) / pixels.shape[2]


def _white_255(pixels: np.ndarray) -> float:
    from denoiselab.imaging.tensors import planar
    from denoiselab.noise.level_estimation import estimate_sigma_255

    return estimate_sigma_255(planar(pixels)).item()
