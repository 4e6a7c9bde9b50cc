"""Images of the report's comparison slider: a detail of every sample, clean, noisy and restored by each model."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from denoiselab.report.figures.pictures import busiest
from denoiselab.report.samples import Sample, decibels
from denoiselab.runtime import paths

WIDTH, SMALLEST = 560, 128  # of a detail in pixels
SHAPE = 2.4  # ratio of width to height, fits the first screen
LIMIT = 1_000_000  # characters of all details, for each COMPARED of them
COMPARED = 30
MOST = 4_000_000  # characters of all details, however many
PAGE = 14_500_000  # characters of all details and figures
QUALITY = 75  # of WebP

View = tuple[str, str, np.ndarray]  # name, PSNR as text, (H, W, C) uint8
Detail = tuple[str, list[View]]  # title, views; the second view is the clean image


def encode(details: list[Detail]) -> list[dict[str, Any]]:
    """Encode details as data URIs, as large as LIMIT and PAGE allow.

    One dict per detail: name, height and width in pixels, and views (name, psnr, src): the noisy input, the clean
    image, then the models, best first.
    """
    figures = sum(path.stat().st_size for folder in (paths.FIGURES, paths.PHOTOS) for path in folder.glob("*")) * 4 // 3
    views = sum(len(own) for _, own in details)
    limit, width = max(0, min(LIMIT * max(1.0, views / COMPARED), MOST, PAGE - figures)), WIDTH
    while True:
        result, size = [], 0
        for image in _encoded(details, width):
            result.append(image)
            size += sum(len(view["src"]) for view in image["views"])
            if size > limit and width > SMALLEST:
                break
        else:
            return result
        expected = size * len(details) / len(result)
        # 5 % less, because smaller windows compress worse
        width = max(SMALLEST, int(0.95 * width * (limit / expected) ** 0.5))


def detail(one: Sample, title: str) -> Detail:
    """The views of a sample at the largest size."""
    height = round(WIDTH / SHAPE)
    y, x = busiest(one.test.shown, height, WIDTH)
    window = np.s_[y : y + height, x : x + WIDTH]
    views = [("noisy input", decibels(one.noisy.psnr), one.noisy.pixels[window].copy())]
    views += [("clean", "the reference", one.test.shown[window].copy())]
    return title, views + [(o.model, decibels(o.psnr), o.pixels[window].copy()) for o in one.outputs]


def _encoded(details: list[Detail], width: int) -> Iterator[dict[str, Any]]:
    """The window of `width` pixels with the most structure, of every detail."""
    height = round(width / SHAPE)
    with ThreadPoolExecutor() as pool:
        for title, views in details:
            y, x = busiest(views[1][2], height, width)
            cut = [pixels[y : y + height, x : x + width] for _, _, pixels in views]
            sources = pool.map(_source, cut)
            shown = [
                {"name": name, "psnr": psnr, "src": src} for (name, psnr, _), src in zip(views, sources, strict=True)
            ]
            yield {"name": title, "height": cut[0].shape[0], "width": cut[0].shape[1], "views": shown}


def _source(pixels: np.ndarray) -> str:
    """(h, w, 1) or (h, w, 3) uint8 as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        buffer, "WEBP", quality=QUALITY, method=2
    )
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
