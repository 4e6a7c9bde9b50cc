"""The pictures of the report's slider: a detail of every kept test image, clean, noisy and restored by each model."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from denoiselab import conditions, images, metrics, paths
from denoiselab.config import Params
from denoiselab.figures.pictures import busiest

SIDE, SMALLEST = 320, 64  # pixels, side of the detail
LIMIT = 4_000_000  # characters, all details together
PAGE = 14_500_000  # characters, the details and the figures that were drawn
QUALITY = 80  # of WebP


def pictures(params: Params, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A dict a kept test image and condition: name, height and width of the detail in pixels, and views (name, psnr,
    src): the noisy input, the clean image, then the models, best first.

    The details are as large as LIMIT and PAGE allow. Nothing where no model restores or no sample was kept.
    """
    ranked = rows.groupby("model").psnr.mean().sort_values(ascending=False).index
    models = [str(model) for model in ranked if params.models[model].arch != "identity"]
    if not models:
        return []
    figures = sum(path.stat().st_size for path in paths.FIGURES.glob("*")) * 4 // 3
    limit, side = max(0, min(LIMIT, PAGE - figures)), SIDE
    while True:
        result = list(_details(params, rows, models, side))
        size = sum(len(view["src"]) for picture in result for view in picture["views"])
        if size <= limit or side == SMALLEST:
            return result
        side = max(SMALLEST, int(0.95 * side * (limit / size) ** 0.5))  # less, as smaller windows are busier


def _details(params: Params, rows: pd.DataFrame, models: list[str], side: int) -> Iterator[dict[str, Any]]:
    for condition in conditions.names(paths.NOISY):
        here = rows[(rows.condition == condition) & (rows.draw == 0)].drop_duplicates(["model", "image"])
        scores = here.set_index(["model", "image"]).psnr
        every = conditions.test(paths.RAW, paths.NOISY, condition, params.data.channels)
        tests = (test for test in every if test.draw == 0)
        for n, test in zip(range(params.evaluate.samples), tests, strict=False):
            y, x = busiest(test.clean, side)
            detail = np.s_[y : y + side, x : x + side]
            noisy = metrics.psnr(test.clean / 255.0, test.noisy, data_range=1)
            views = [
                _view("noisy input", _decibels(noisy), metrics.to_uint8(test.noisy)[detail]),
                _view("clean", "the reference", test.clean[detail]),
            ]
            for model in models:
                restored = images.read(paths.samples(model) / condition / f"{n:02d}.png", params.data.channels)
                views.append(_view(model, _decibels(scores[model, test.image]), restored[detail]))
            height, width = test.clean[detail].shape[:2]
            yield {"name": f"{test.image}, {condition}", "height": height, "width": width, "views": views}


def _view(name: str, psnr: str, pixels: np.ndarray) -> dict[str, str]:
    """`pixels` is (h, w), (h, w, 1) or (h, w, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "WEBP", quality=QUALITY)
    return {"name": name, "psnr": psnr, "src": f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"}


def _decibels(psnr: float) -> str:
    return f"{psnr:.2f} dB" if np.isfinite(psnr) else "identical"
