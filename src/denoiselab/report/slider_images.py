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

SIDE, SMALLEST = 320, 64  # side of a detail in pixels
LIMIT = 4_000_000  # characters of all details
PAGE = 14_500_000  # characters of all details and figures
QUALITY = 80  # of WebP

View = tuple[str, str, np.ndarray]  # name, PSNR as text, (H, W, C) uint8
Detail = tuple[str, list[View]]  # title, views; the second view is the clean image


def encode(details: list[Detail]) -> list[dict[str, Any]]:
    """Encode details as data URIs, as large as LIMIT and PAGE allow.

    One dict per detail: name, height and width in pixels, and views (name, psnr, src): the noisy input, the clean
    image, then the models, best first.
    """
    figures = sum(path.stat().st_size for folder in (paths.FIGURES, paths.PHOTOS) for path in folder.glob("*")) * 4 // 3
    limit, side = max(0, min(LIMIT, PAGE - figures)), SIDE
    while True:
        result, size = [], 0
        for image in _encoded(details, side):
            result.append(image)
            size += sum(len(view["src"]) for view in image["views"])
            if size > limit and side > SMALLEST:
                break
        else:
            return result
        expected = size * len(details) / len(result)
        side = max(
            SMALLEST, int(0.95 * side * (limit / expected) ** 0.5)
        )  # 5 % less, because smaller windows compress worse


def detail(one: Sample) -> Detail:
    """The views of a sample at the largest size."""
    y, x = busiest(one.test.shown, SIDE)
    window = np.s_[y : y + SIDE, x : x + SIDE]
    views = [("noisy input", decibels(one.noisy.psnr), one.noisy.pixels[window].copy())]
    views += [("clean", "the reference", one.test.shown[window].copy())]
    return one.title, views + [(o.model, decibels(o.psnr), o.pixels[window].copy()) for o in one.outputs]


def _encoded(details: list[Detail], side: int) -> Iterator[dict[str, Any]]:
    """The window of `side` by `side` pixels with the most structure, of every detail."""
    with ThreadPoolExecutor() as pool:
        for title, views in details:
            y, x = busiest(views[1][2], side)
            cut = [pixels[y : y + side, x : x + side] for _, _, pixels in views]
            sources = pool.map(_source, cut)
            height, width = cut[0].shape[:2]
            shown = [
                {"name": name, "psnr": psnr, "src": src} for (name, psnr, _), src in zip(views, sources, strict=True)
            ]
            yield {"name": title, "height": height, "width": width, "views": shown}


def _source(pixels: np.ndarray) -> str:
    """(h, w, 1) or (h, w, 3) uint8 as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        buffer, "WEBP", quality=QUALITY, method=2
    )
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
