"""Noise curve of an image: the variance of its noise by brightness, and how far the noise is correlated.

Both are measured where the image is flat, which is seen best in its restored version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from denoiselab.noise.analysis import plane
from denoiselab.noise.level_estimation import QUARTILE

BINS = 8  # of brightness, with equally many samples each
MARGIN = 0.03  # brightness this close to black or white is left out: its noise is clipped
FLAT = 0.3  # fraction of the 2x2 cells of a bin that count as flat
FLAT_BLOCKS = 0.15  # the same of blocks, for correlated noise
BLOCK = 8  # pixels, side of a block
LAGS = 8  # pixels, the longest distance at which the correlation is measured
LOCAL = 15  # pixels, side of the window whose mean is subtracted before
VALUES = 500  # of noise in a bin, at least: one a cell, or all of a block


@dataclass(frozen=True)
class Curve:
    """Noise by brightness in flat areas; all values on a scale where white is 1."""

    brightness: tuple[float, ...]  # mean of each bin, ascending
    variance: tuple[float, ...]
    correlation_length: float  # pixels at which the correlation has fallen to 1/e: 0.6 for white noise
    white: bool  # measured as noise without correlation

    def darkened(self, factor: float) -> "Curve":
        """The same noise in the image before it was multiplied by `factor`."""
        return replace(
            self,
            brightness=tuple(value / factor for value in self.brightness),
            variance=tuple(value / factor**2 for value in self.variance),
        )

    @property
    def line(self) -> tuple[float, float]:
        """Slope and value at black of the variance, fitted with equal weight on relative errors."""
        y = np.maximum(self.variance, 1e-12)
        slope, at_black = np.polyfit(self.brightness, y, 1, w=1 / y)
        return float(slope), float(at_black)

    def sigma_255(self, brightness: float) -> float:
        """Standard deviation of 255 at a brightness in [0, 1]: by the line for white noise, else between the bins."""
        slope, at_black = self.line
        variance = (
            slope * brightness + at_black if self.white else np.interp(brightness, self.brightness, self.variance)
        )
        return 255 * float(max(0.0, variance)) ** 0.5


def measure(noisy: Sequence[np.ndarray], restored: Sequence[np.ndarray], white: bool) -> Curve | None:
    """Noise curve of one channel, from crops (H, W) in [0, 1] and the same crops restored; None if there is too little.

    `white`: noise without correlation. Measured in noisy - restored, by the finest wavelet coefficients, robust against
    texture; other noise in flat blocks of `noisy`, around a plane, since models leave some of its low frequencies.
    Cameras smooth flat areas more than texture: there, the noise of texture may have several times the variance.
    """
    flat = [_activity(crop) for crop in restored]
    samples = _cells(noisy, restored, flat) if white else _blocks(noisy, restored, flat)
    activity, brightness, values = np.concatenate(samples, axis=1)
    inside = np.flatnonzero((brightness > MARGIN) & (brightness < 1 - MARGIN))
    share, values_each = (FLAT, 1) if white else (FLAT_BLOCKS, BLOCK**2)
    if len(inside) * share * values_each < BINS * VALUES:
        return None
    points = []
    for kept in _by_brightness(inside, activity, brightness, share, white):
        found = (np.median(np.abs(values[kept])) / QUARTILE) ** 2 if white else values[kept].mean()
        points.append((float(brightness[kept].mean()), float(found)))
    x, y = zip(*points, strict=True)
    length = _length([n - r for n, r in zip(noisy, restored, strict=True)] if white else noisy, flat)
    lost = 0.0 if white else _lost(length)
    return Curve(x, tuple(variance / (1 - lost) for variance in y), length, white)


def _by_brightness(
    inside: np.ndarray, activity: np.ndarray, brightness: np.ndarray, share: float, everywhere: bool
) -> list[np.ndarray]:
    """The flattest `share` of the samples `inside` (of each bin, if `everywhere`), in BINS bins of brightness."""
    if everywhere:
        bins = np.array_split(inside[np.argsort(brightness[inside], kind="stable")], BINS)
        return [chosen[np.argsort(activity[chosen], kind="stable")[: int(share * len(chosen))]] for chosen in bins]
    kept = inside[np.argsort(activity[inside], kind="stable")[: int(share * len(inside))]]
    return np.array_split(kept[np.argsort(brightness[kept], kind="stable")], BINS)


def _activity(restored: np.ndarray) -> np.ndarray:
    """Squared gradient (H, W) of a restored channel, smoothed."""
    import cv2

    image = np.ascontiguousarray(restored, np.float32)
    squared = cv2.Sobel(image, cv2.CV_32F, 0, 1) ** 2 + cv2.Sobel(image, cv2.CV_32F, 1, 0) ** 2
    return np.asarray(cv2.GaussianBlur(squared, (0, 0), 1.5))


def _cut(channel: np.ndarray, side: int) -> np.ndarray:
    """Blocks (N, side, side) of a channel."""
    height, width = (size // side * side for size in channel.shape)
    cut = channel[:height, :width].reshape(height // side, side, width // side, side)
    return cut.swapaxes(1, 2).reshape(-1, side, side).astype(np.float64)


def _cells(noisy: Sequence[np.ndarray], restored: Sequence[np.ndarray], flat: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of each crop, by 2x2 cells: activity, brightness, diagonal Haar coefficient of what was removed (3, N)."""
    found = []
    for n, r, a in zip(noisy, restored, flat, strict=True):
        cell = _cut(n - r, 2)
        haar = (cell[:, 0, 0] - cell[:, 0, 1] - cell[:, 1, 0] + cell[:, 1, 1]) / 2
        found.append(np.stack([_cut(a, 2).mean((1, 2)), _cut(r, 2).mean((1, 2)), haar]))
    return found


def _lost(length: float) -> float:
    """Fraction of the variance that a plane takes from a block of noise with correlation exp(-(distance/length)^2)."""
    if not length:
        return 0.0
    places, planes = np.mgrid[:BLOCK, :BLOCK].reshape(2, -1), plane(BLOCK)
    squared = np.square(places[:, :, None] - places[:, None]).sum(0)
    taken = np.trace(planes @ np.exp(-squared / length**2) @ planes.T)
    return float((taken - 3) / (BLOCK**2 - 3))


def _blocks(
    noisy: Sequence[np.ndarray], restored: Sequence[np.ndarray], flat: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Of each crop, by blocks: activity, brightness, variance of the noisy values around a plane (3, N)."""
    planes, found = plane(BLOCK), []
    for n, r, a in zip(noisy, restored, flat, strict=True):
        values = _cut(n, BLOCK).reshape(-1, BLOCK**2)
        variance = np.square(values - (values @ planes.T) @ planes).sum(1) / (BLOCK**2 - 3)
        found.append(np.stack([_cut(a, BLOCK).mean((1, 2)), _cut(r, BLOCK).mean((1, 2)), variance]))
    return found


def _length(noise: Sequence[np.ndarray], flat: Sequence[np.ndarray]) -> float:
    """Distance in pixels, along rows and columns, at which the correlation in the flattest places falls to 1/e."""
    import cv2

    limit = np.quantile(np.concatenate([a.ravel() for a in flat]), FLAT_BLOCKS)
    products, power = np.zeros(LAGS), 0.0
    counts, count = np.zeros(LAGS), 0
    for n, a in zip(noise, flat, strict=True):
        image = np.ascontiguousarray(n, np.float32)
        detail = image - cv2.blur(image, (LOCAL, LOCAL))
        for z, mask in ((detail, a <= limit), (detail.T, (a <= limit).T)):
            power, count = power + float(np.square(z[mask]).sum()), count + int(mask.sum())
            for lag in range(1, min(LAGS, z.shape[1] - 1) + 1):
                both = mask[:, lag:]
                products[lag - 1] += (z[:, lag:] * z[:, :-lag])[both].sum()
                counts[lag - 1] += both.sum()
    if not power:
        return 0.0
    correlation = np.concatenate([[1.0], products / np.maximum(counts, 1) / (power / count)])
    below = np.flatnonzero(correlation < np.exp(-1))
    if not len(below):
        return float(LAGS)
    at = int(below[0])
    before, after = correlation[at - 1 : at + 1]
    return float(at - 1 + (before - np.exp(-1)) / (before - after))
