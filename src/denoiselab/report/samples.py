"""Sample test images: the clean and noisy image, and the output of every model that evaluate stored."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from denoiselab.config import Params
from denoiselab.data import noisy_sets
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.runtime import paths


@dataclass(frozen=True)
class Output:
    model: str
    psnr: float  # dB, of the whole image
    pixels: np.ndarray  # (H, W, C) uint8


@dataclass(frozen=True)
class Sample:
    condition: str
    number: int  # within the condition
    test: noisy_sets.TestImage
    noisy: Output
    outputs: list[Output]  # of all models but the noisy input, best mean PSNR first


def read(params: Params, rows: pd.DataFrame) -> Iterator[Sample]:
    """The samples of every condition, one at a time. `rows`: per-image rows."""
    channels = params.data.channels
    with ThreadPoolExecutor() as pool:
        for condition in noisy_sets.names(paths.NOISY):
            here = rows[(rows.condition == condition) & (rows.draw == 0)].drop_duplicates(["model", "image"])
            psnr = here.set_index(["model", "image"]).psnr
            means = here.groupby("model").psnr.agg(lambda psnr: psnr.mean(skipna=False))
            ranked = means.sort_values(ascending=False).index
            models = [str(model) for model in ranked if params.models[model].arch != "identity"]
            tests = noisy_sets.test(paths.RAW, paths.NOISY, condition, channels, draw=0)
            for n, test in zip(range(params.evaluate.samples), tests, strict=False):
                files = [paths.samples(model) / condition / f"{n:02d}.png" for model in models]
                pixels = [
                    p.reshape(test.clean.shape) for p in pool.map(dataset_images.read, files, [channels] * len(files))
                ]
                scores = [float(psnr[model, test.image]) for model in models]
                yield Sample(
                    condition,
                    n,
                    test,
                    Output("noisy input", test.psnr_noisy, image_quality.to_uint8(test.noisy)),
                    [Output(*output) for output in zip(models, scores, pixels, strict=True)],
                )


def decibels(psnr: float) -> str:
    """A PSNR as text: "identical" for exact outputs, "not finite" for outputs with NaN or infinite values."""
    return f"{psnr:.2f} dB" if psnr < image_quality.HIGHEST_PSNR else "not finite" if np.isnan(psnr) else "identical"
