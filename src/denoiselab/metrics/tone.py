"""Tone check: mean brightness and colour of an image before and after denoising, in tenths of brightness."""

from typing import NamedTuple

import cv2
import numpy as np

BLOCK = 16  # side in pixels; the mean of a block hardly changes when noise is removed
TENTHS = 10
MIN_BLOCKS = 8  # in a tenth; fewer tenths in small images
CLIPPED = 0.01  # blocks with a larger share of black or white values are left out: clipping has shifted their mean
BOUND_255 = 2.0  # smallest shift that counts, of 255
ERROR = 0.05  # probability that noise alone exceeds the interval somewhere
NAMES = {1: ("brightness",), 3: ("red", "green", "blue")}


class Shift(NamedTuple):
    """Mean difference of a channel in a tenth of brightness, all of 255."""

    brightness: float  # mean before
    channel: str  # brightness, red, green or blue
    mean: float  # after - before
    halfwidth: float  # of its interval

    def __str__(self) -> str:
        interval = f"[{self.mean - self.halfwidth:+.1f}, {self.mean + self.halfwidth:+.1f}]"
        return f"{self.channel} {self.mean:+.1f} of 255 {interval} where brightness is {self.brightness:.0f}"

    def darkened(self, factor: float) -> "Shift":
        """The same shift in the image before it was multiplied by `factor`."""
        return self._replace(
            brightness=self.brightness / factor, mean=self.mean / factor, halfwidth=self.halfwidth / factor
        )

    @property
    def counts(self) -> bool:
        """Whether it exceeds both its interval and BOUND_255."""
        return abs(self.mean) > max(BOUND_255, self.halfwidth)


def shifts(before: np.ndarray, after: np.ndarray) -> list[Shift]:
    """Shifts from `before` to `after`, (H, W, C) float in [0, 1], by tenths of brightness, dark first, and channel.

    Empty for images of less than 2 * MIN_BLOCKS usable blocks. The intervals hold jointly with probability 95 %
    (Bonferroni), from the spread over blocks. A block's brightness is that of the blocks around it: its own would sort
    blocks by their noise, and the darkest would seem to become brighter.
    """
    clipped = ((before == 0) | (before == 1)).any(axis=2, keepdims=True)
    inside = 1 - _means(np.asarray(clipped, np.float32))[:, :, 0]
    means, changes = _means(before), _means(after) - _means(before)
    around = _surroundings(means.mean(axis=2))
    chosen = inside >= 1 - CLIPPED
    order = np.argsort(around[chosen], kind="stable")
    tenths = min(TENTHS, len(order) // MIN_BLOCKS)
    if tenths < 2:
        return []
    from scipy import stats  # slow to import

    channels = means.shape[2]
    found = []
    for tenth in np.array_split(order, tenths):
        brightness, change = 255 * means[chosen][tenth].mean(), 255 * changes[chosen][tenth]
        quantile = stats.t.ppf(1 - ERROR / 2 / tenths / channels, len(tenth) - 1)
        halves = quantile * change.std(axis=0, ddof=1) / len(tenth) ** 0.5
        for name, mean, half in zip(NAMES[channels], change.mean(axis=0), halves, strict=True):
            found.append(Shift(float(brightness), name, float(mean), float(half)))
    return found


def largest(before: np.ndarray, after: np.ndarray) -> Shift | None:
    """The largest shift that counts, or None."""
    return max((one for one in shifts(before, after) if one.counts), key=lambda one: abs(one.mean), default=None)


def _means(pixels: np.ndarray) -> np.ndarray:
    """Means of whole blocks (H // BLOCK, W // BLOCK, C)."""
    rows, columns = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
    whole = pixels[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, pixels.shape[2])
    return whole.mean(axis=(1, 3), dtype=np.float64)


def _surroundings(brightness: np.ndarray) -> np.ndarray:
    """Mean of the eight neighbours of each block."""
    if not brightness.size:
        return brightness
    return (9 * cv2.blur(brightness, (3, 3), borderType=cv2.BORDER_REFLECT_101) - brightness) / 8
