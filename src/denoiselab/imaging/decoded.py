"""A decoded image, and what the decoders share: upright arrays and the limit of pixels."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from denoiselab.imaging.metadata import Metadata
from denoiselab.runtime.errors import UnsupportedError

UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


class Decoded(NamedTuple):
    """A decoded image, upright."""

    values: np.ndarray  # (H, W, N), N 1 to 4: gray, gray and alpha, RGB, RGBA; of any type in tiff_segments.DTYPES
    metadata: Metadata
    separate: bool = False  # the N channels, of any number, are gray images that do not belong together
    no_data: float | None = None  # value of missing pixels, besides those that are not finite

    @property
    def colours(self) -> np.ndarray:
        """(H, W, 1) or (H, W, 3), or all channels if they are separate."""
        return self.values if self.separate else self.values[:, :, : 1 if self.values.shape[2] <= 2 else 3]

    @property
    def alpha(self) -> np.ndarray | None:
        """(H, W)."""
        return None if self.separate or self.values.shape[2] not in (2, 4) else self.values[:, :, -1]


def check_size(width: int, height: int, max_pixels: int) -> None:
    """UnsupportedError if the header states too many pixels."""
    if width * height > max_pixels:
        raise UnsupportedError(f"{width}x{height} pixels are too many; {limit(max_pixels)}")


def limit(max_pixels: int) -> str:
    """The limit in words."""
    return f"the limit is {max_pixels / 1e6:.3g} megapixels"
