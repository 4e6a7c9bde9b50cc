"""Images as shown on the page: whole and, if they must be downscaled for that, a detail at full resolution."""

import base64
from dataclasses import dataclass, field

import cv2
import numpy as np

from denoiselab.metrics import image_quality
from denoiselab.report.figures.pictures import busiest

WHOLE = 2_000_000  # pixels of an image shown whole
LONGEST = 16_000  # pixels of its longer side; the limit is 65,500 in JPEG, lower in browsers
DETAIL = 900  # pixels, side of the detail
QUALITY = 92  # of JPEG, without chroma subsampling, to preserve noise


@dataclass(frozen=True)
class View:
    """An image as data URIs. `detail` is None if `whole` has full resolution."""

    name: str
    note: str
    whole: str
    detail: str | None


@dataclass
class Views:
    """Views of images of one size; sizes are (width, height) in pixels."""

    whole: tuple[int, int]
    detail: tuple[int, int] | None = None
    views: list[View] = field(default_factory=list)


class Gallery:
    """Makes views of images of one size; the detail is the busiest part of the first image."""

    def __init__(self, first: np.ndarray) -> None:
        height, width = first.shape[:2]
        self._scale = min(1.0, (WHOLE / (width * height)) ** 0.5, LONGEST / max(width, height))
        self.shown = Views((max(1, round(width * self._scale)), max(1, round(height * self._scale))))
        if self._scale < 1:
            y, x = busiest(first, DETAIL)
            self._window = np.s_[y : y + DETAIL, x : x + DETAIL]
            cut = first[self._window]
            self.shown.detail = (cut.shape[1], cut.shape[0])

    def add(self, name: str, note: str, pixels: np.ndarray) -> None:
        """Add an image (H, W, C) float32; values outside [0, 1] are clipped."""
        if self._scale == 1:
            self.shown.views.append(View(name, note, _uri(pixels), None))
            return
        small = cv2.resize(pixels, self.shown.whole, interpolation=cv2.INTER_AREA)
        self.shown.views.append(View(name, note, _uri(small), _uri(pixels[self._window])))


def _uri(pixels: np.ndarray) -> str:
    """Image (H, W, C) or (H, W) float32 as a JPEG data URI."""
    values = image_quality.to_uint8(pixels)
    if values.ndim == 3 and values.shape[2] == 3:
        values = cv2.cvtColor(values, cv2.COLOR_RGB2BGR)
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    code = cv2.imencode(".jpg", values, options)[1]
    return f"data:image/jpeg;base64,{base64.b64encode(code.tobytes()).decode()}"
