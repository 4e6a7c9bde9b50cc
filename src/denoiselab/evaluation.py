"""Score a trained model on the stored test images: a row an image and condition, pictures, and the time it took."""

import time
from collections.abc import Iterator
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
from torch import nn

from denoiselab import conditions, devices, files, images, inference, metrics, model_store, paths
from denoiselab.config import Params
from denoiselab.scores import Score, summarise, write

WARM_UP = 96  # pixels, side of the crop that is restored once before the clock starts
STRIP = 256  # pixels, side of the pictures for the tracking store


def evaluate(params: Params, name: str) -> dict[str, Any]:
    """Evaluate models/<name>/ on every stored condition, write its files and return metrics.json."""
    device = devices.choose(params.training(name).device)
    devices.prepare(device)
    model = model_store.load(paths.model(name)).to(device)
    paths.samples(name).mkdir(parents=True, exist_ok=True)
    scores: list[Score] = []
    cost: list[float] = []
    for condition in (conditions.read(paths.NOISY, key) for key in conditions.names(paths.NOISY)):
        kept = 0
        for test in conditions.test(paths.RAW, paths.NOISY, condition.name, params.data.channels):

            def restore(noisy: np.ndarray, level: float = condition.sigma_255) -> np.ndarray:
                return inference.restore(model, noisy, device=device, sigma_255=level, tile=params.evaluate.tile)

            if not cost:
                restore(test.noisy[:WARM_UP, :WARM_UP])
            started = time.perf_counter()
            restored = restore(test.noisy)
            cost.append(1000 * (time.perf_counter() - started) / (test.clean.shape[0] * test.clean.shape[1] / 1e6))
            pixels = _pixels(restored, name, test.image)
            scores.append(_score(name, condition, test, *_scored(model, test, restored, pixels), params.seed))
            if test.draw == 0 and kept < params.evaluate.samples:
                images.write_png(paths.samples(name) / condition.name / f"{kept:02d}.png", pixels)
                kept += 1
    write(paths.evaluation(name) / "per_image.csv", scores)
    summary = summarise(scores, model_store.parameters(model))
    files.write_json(paths.evaluation(name) / "metrics.json", summary)
    files.write_json(paths.inference_cost(name), {"ms_per_megapixel": median(cost), "device": devices.describe(device)})
    return summary


def pictures(params: Params, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The middle of the kept samples as strips noisy, restored, clean: (key, (h, 3 w, C) uint8)."""
    for condition in conditions.names(paths.NOISY):
        tests = conditions.test(paths.RAW, paths.NOISY, condition, params.data.channels)
        first = (test for test in tests if test.draw == 0)
        for n, test in enumerate(islice(first, params.evaluate.samples)):
            restored = images.read(paths.samples(name) / condition / f"{n:02d}.png", params.data.channels)
            parts = [metrics.to_uint8(test.noisy), restored.reshape(test.clean.shape), test.clean]
            yield f"test/{condition}/{test.image}", np.concatenate([_middle(part) for part in parts], axis=1)


def _middle(image: np.ndarray) -> np.ndarray:
    y, x = (max(0, (side - STRIP) // 2) for side in image.shape[:2])
    return image[y : y + STRIP, x : x + STRIP]


def _pixels(restored: np.ndarray, name: str, image: str) -> np.ndarray:
    try:
        return metrics.to_uint8(restored)
    except ValueError as error:
        raise ValueError(f"models.{name} on {image}: {error}") from None


def _scored(
    model: nn.Module, test: conditions.TestImage, restored: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """(clean, restored, data range) to measure: 8 bits, but for the noisy input, which is measured as it is."""
    if getattr(model, "as_it_is", False):
        return test.clean / 255.0, restored.astype(np.float64), 1.0
    return test.clean, pixels, 255.0


def _score(
    name: str,
    condition: conditions.Condition,
    test: conditions.TestImage,
    clean: np.ndarray,
    restored: np.ndarray,
    data_range: float,
    seed: int,
) -> Score:
    return Score(
        model=name,
        condition=condition.name,
        protocol=condition.protocol.name,
        protocol_sha256=condition.protocol.sha256,
        sets=" ".join(test.sets),
        image=test.image,
        label=test.label,
        draw=test.draw,
        seed=seed,
        psnr=metrics.psnr(clean, restored, data_range=data_range),
        ssim=metrics.ssim(clean, restored, data_range=data_range),
        mse=metrics.mse(clean, restored, data_range=data_range),
    )
