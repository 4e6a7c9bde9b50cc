"""Blind noise estimation: kind and level of the noise in a single image.

Based on flat blocks, whose residual after subtracting a fitted plane is noise (Olsen: Estimation of Noise in Images: An
Evaluation. CVGIP 1993); the level of white noise comes from the wavelet estimator.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

BLOCK = 16  # side in pixels
FLAT = 0.05  # fraction of the blocks, those with the lowest variance, that are considered flat
MIN_BLOCKS = 10  # for an estimate
MARGIN = 0.03  # blocks with a mean this close to black or white are excluded: their noise is clipped
CLEAN_255 = 0.8  # noise level below which denoising gains nothing,
FAINT_255 = 0.35  # unless it is above this and correlated as in camera JPEGs, whose flattest blocks are smoothed:
FAINT = (0.63, 0.74)  # the correlation of 22 such photos, of five cameras
TEXTURE = 0.75  # weak noise is less correlated; what is more correlated, is texture
DARK = 0.25  # maximum below which the image may have another white level
WEAK_255 = 3.0  # up to this level the correlation of neighbours alone decides:
CORRELATED = 0.4  # it is 0 for white noise, 0.5 and more for camera JPEGs. Above, the wavelet estimate must also be ...
WHITE = 0.7  # ... below this fraction of the level: texture has fine detail, correlated noise has none
JPEG_255, JPEG_CORRELATION = 5.0, 0.6  # lowest level and highest correlation of noise that JPEG has quantised
GRID = 8  # pixels, side of JPEG's blocks
LUMA = {1: (1.0,), 3: (0.299, 0.587, 0.114)}  # of JPEG, by number of channels
BINS = 8  # of brightness
MIN_SPAN = 0.2  # minimum brightness range of the bins
MIN_RISE = 1.6  # minimum ratio of the variances at both ends for signal-dependent noise
MIN_FIT = 0.8  # minimum correlation of brightness and variance for it
EXTREME = 0.004  # distance from black or white of an impulse
NEAR = 0.1  # distance from black or white of possibly clipped noise
ISOLATED = 0.25  # minimum difference from the median of the neighbours
IMPULSES = 0.002  # minimum fraction of values for impulse noise
CROWDED = (
    2.0  # impulses have a like neighbour at most so many times as often as independent ones; lines have more often
)
DRAWN, DRAWN_SMALL = 0.5, 0.2  # fraction of equal neighbours in drawings, and in icons of less than MIN_BLOCKS blocks
TWO_TONES = 0.01  # fraction of values that are neither black nor white below which it is a scan of 1 bit
INSIDE = (0.2, 0.25)  # if more than this are neither black nor white, more than this fraction of them must be equal too


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

    def darkened(self, factor: float) -> "Estimate":
        """The same noise in the image before it was multiplied by `factor`; the reason stays."""
        photons, read_noise = self.photons, self.read_noise_255
        return replace(
            self,
            sigma_255=self.sigma_255 / factor,
            photons=None if photons is None else photons * factor,
            read_noise_255=None if read_noise is None else read_noise / factor,
        )


def estimate(pixels: np.ndarray) -> Estimate:
    """Estimate kind and level of the noise of an image (H, W, C) in [0, 1].

    - clean: most neighbouring pixels are equal, as in drawings, icons and 1-bit scans.
    - impulse: isolated black and white values, as in the adaptive median filter (Hwang, Haddad: Adaptive Median
      Filters. IEEE TIP 1995), unless nearby values are isolated as often, as with clipped Gaussian noise, or they
      touch each other, as in lines.
    - correlated: neighbouring pixels of flat blocks are correlated, as after demosaicking and JPEG compression (Nam et
      al.: A Holistic Approach to Cross-Channel Image Noise Modeling. CVPR 2016), or JPEG has quantised the noise.
    - signal-dependent: the variance of flat blocks rises with their brightness; a line fit gives photons and read noise
      (Foi et al.: Practical Poissonian-Gaussian Noise Modeling. IEEE TIP 2008).
    - gaussian: otherwise; level by the wavelet estimator of denoiselab.noise.level_estimation.
    - clean: the level is below CLEAN_255.
    """
    if (equal := _drawn(pixels)) is not None:
        return Estimate(0.0, "clean", f"drawing or scan in few tones ({100 * equal:.0f} % of the neighbours are equal)")
    impulses = _impulses(pixels)
    blocks = [_blocks(pixels[:, :, channel]) for channel in range(pixels.shape[2])]
    level, correlation = np.mean([_flat(b) for b in blocks], axis=0).tolist()
    white = _white_255(pixels)
    if impulses > IMPULSES:
        reason = f"{100 * impulses:.1f} % of the values are isolated black or white ones"
        return Estimate(level, "impulse", reason, impulses=impulses, correlation=correlation)
    weak = level < WEAK_255
    correlated = correlation > (CORRELATED if weak else CORRELATED / 2) and (weak or white < WHITE * level)
    if weak and correlation > TEXTURE:
        reason = f"neighbouring pixels are as alike as in texture (correlation {correlation:.2f})"
        return Estimate(level, "clean", reason, correlation=correlation)
    faint = FAINT_255 < level < CLEAN_255 and FAINT[0] < correlation < FAINT[1] and pixels.shape[2] == 3
    if level < CLEAN_255 and not faint and (correlated or white < CLEAN_255):
        dark = f" (no value is above {100 * pixels.max():.1f} % of white)" if pixels.max() < DARK else ""
        reason = f"noise of level {level:.1f} of 255{dark} is negligible"
        return Estimate(level, "clean", reason, correlation=correlation)
    if correlated:
        reason = f"correlated noise of level {level:.1f} of 255, as in camera JPEGs (correlation {correlation:.2f})"
        return Estimate(level, "correlated", reason, correlation=correlation)
    if min(level, white) > JPEG_255 and correlation < JPEG_CORRELATION and _quantised(pixels):
        reason = f"noise of level {white:.1f} of 255 that JPEG compression has changed"
        return Estimate(white, "correlated", reason, correlation=correlation)
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
    planes = plane(side)
    residuals = flat - (flat @ planes.T) @ planes
    means, variances = flat.mean(1), np.square(residuals).sum(1) / max(1, side * side - 3)
    inside = (means > MARGIN) & (means < 1 - MARGIN)
    chosen = inside if inside.sum() >= MIN_BLOCKS else np.full(len(means), True)
    return _Blocks(residuals[chosen].reshape(-1, side, side), np.stack([means, variances])[:, chosen])


def plane(side: int) -> np.ndarray:
    """Orthonormal vectors (3, side**2) of the planes over a block of `side` x `side` pixels."""
    y, x = np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2
    return np.stack([vector / max(float(np.linalg.norm(vector)), 1e-9) for vector in (np.ones(side**2), y, x)])


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


def _drawn(pixels: np.ndarray) -> float | None:
    """Fraction of equal horizontal neighbours if it is that of a drawing or scan, else None."""
    same = (pixels[:, 1:] == pixels[:, :-1]).all(axis=2)
    inside = ~((pixels[:, 1:] <= 0) | (pixels[:, 1:] >= 1)).all(axis=2)
    if not same.size:
        return None
    equal = float(same.mean())
    if pixels.shape[0] * pixels.shape[1] < MIN_BLOCKS * BLOCK**2:
        return equal if equal > DRAWN_SMALL else None
    if inside.mean() < TWO_TONES:
        return equal
    photo = inside.mean() > INSIDE[0] and same[inside].mean() < INSIDE[1]  # with a black or white area
    return equal if equal > DRAWN and not photo else None


def _impulses(pixels: np.ndarray) -> float:
    """Fraction of isolated black or white values, less those expected from clipped noise; 0 where they form lines."""
    import cv2

    extreme = near = touching = expected = 0.0
    for channel in np.moveaxis(np.ascontiguousarray(pixels, np.float32), 2, 0):
        isolated = np.abs(channel - cv2.medianBlur(np.ascontiguousarray(channel), 3)) > ISOLATED
        edge = np.minimum(channel, 1 - channel)
        extremes = isolated & (np.abs(edge) <= EXTREME)
        extreme += np.count_nonzero(extremes) / channel.size
        near += np.count_nonzero(isolated & (np.abs(edge) > EXTREME) & (np.abs(edge) < NEAR)) / channel.size
        for like in (channel < 0.5, channel > 0.5):
            dots = (extremes & like).astype(np.float32)
            neighbours = cv2.boxFilter(dots, -1, (3, 3), normalize=False) - dots
            touching += np.count_nonzero(dots * neighbours > 0.5) / channel.size
            expected += dots.mean() * (1 - (1 - dots.mean()) ** 8)
    if touching > CROWDED * expected + extreme / 4:
        return 0.0
    return max(0.0, extreme - 2 * near) / pixels.shape[2]


def _quantised(pixels: np.ndarray) -> bool:
    """Whether the finest DCT coefficients of the image's brightness are 0 more often on JPEG's grid than off it."""
    gray = 255 * pixels @ np.array(LUMA[pixels.shape[2]], np.float32)
    on, off = (_zeros(gray[shift:, shift:]) for shift in (0, GRID // 2))
    return on > 1.5 * off + 0.05


def _zeros(gray: np.ndarray) -> float:
    """Fraction of DCT coefficients (u, v) with u + v > 8 that are below 1, in blocks of GRID x GRID; 0 if too small."""
    from scipy import fft

    rows, columns = (size // GRID for size in gray.shape)
    if not rows * columns:
        return 0.0
    blocks = gray[: rows * GRID, : columns * GRID].reshape(rows, GRID, columns, GRID).swapaxes(1, 2)
    fine = np.add.outer(np.arange(GRID), np.arange(GRID)) > GRID
    return float((np.abs(fft.dctn(blocks, axes=(2, 3), norm="ortho")[:, :, fine]) < 1).mean())


def _white_255(pixels: np.ndarray) -> float:
    from denoiselab.imaging.tensors import planar
    from denoiselab.noise.level_estimation import estimate_sigma_255

    return estimate_sigma_255(planar(pixels)).item()
