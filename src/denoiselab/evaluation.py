"""Score a trained model on the stored test images: a row an image and condition, pictures, and the time it took."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from denoiselab import conditions, devices, files, images, inference, metrics, model_store, paths
from denoiselab.config import Params
from denoiselab.scores import LevelScore, Prediction, Score, summarise, summarise_predictions, write

WARM_UP = 96  # pixels, side of the crop that is restored once before the clock starts
STRIP = 256  # pixels, side of the pictures for the tracking store

Output = Callable[[conditions.TestImage, float], np.ndarray]


@dataclass
class Subject:
    """A model under evaluation."""

    params: Params
    name: str
    model: nn.Module
    classes: list[str]
    device: torch.device
    cost: list[float] = field(default_factory=list)  # ms per megapixel of each image

    def timed(self, output: Output, test: conditions.TestImage, level: float) -> np.ndarray:
        """`output` of an image, its time added to `cost`."""
        if not self.cost:
            crop = np.s_[:WARM_UP, :WARM_UP]
            small = conditions.TestImage("", test.label, (), 0, test.clean[crop], test.noisy[crop])
            output(small, level)
        started = time.perf_counter()
        result = output(test, level)
        self.cost.append(1000 * (time.perf_counter() - started) / (test.clean.shape[0] * test.clean.shape[1] / 1e6))
        return result

    def restore(self, test: conditions.TestImage, level: float) -> np.ndarray:
        """The restored image (H, W, C) float32."""
        label = self.classes.index(test.label) if test.label in self.classes else None
        tile = self.params.evaluate.tile
        return inference.restore(self.model, test.noisy, device=self.device, sigma_255=level, label=label, tile=tile)

    @torch.inference_mode()
    def classify(self, test: conditions.TestImage, level: float) -> np.ndarray:
        """The scores of the classes (classes,)."""
        planar = torch.from_numpy(test.noisy).permute(2, 0, 1)[None].to(self.device)
        return inference.forward(self.model, planar, level)[0].cpu().numpy()


def evaluate(params: Params, name: str) -> dict[str, Any]:
    """Evaluate models/<name>/ on every stored condition, write its files and return metrics.json."""
    device = devices.choose(params.training(name).device)
    devices.prepare(device)
    card, model = model_store.read_card(paths.model(name)), model_store.load(paths.model(name)).to(device)
    subject = Subject(params, name, model, card["classes"], device)
    paths.samples(name).mkdir(parents=True, exist_ok=True)
    classifier = card["task"] == "classify"
    summary = _classification(subject) if classifier else _restoration(subject)
    levels = (
        [] if classifier else [_at_level(subject, level, test) for level, test in conditions.curve(paths.RAW, params)]
    )
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    files.write_json(paths.evaluation(name) / "metrics.json", summary)
    cost = {"ms_per_megapixel": median(subject.cost), "device": devices.describe(device)}
    files.write_json(paths.inference_cost(name), cost)
    return summary


def _tests(params: Params) -> Iterator[tuple[conditions.Condition, conditions.TestImage]]:
    for condition in (conditions.read(paths.NOISY, key) for key in conditions.names(paths.NOISY)):
        for test in conditions.test(paths.RAW, paths.NOISY, condition.name, params.data.channels):
            yield condition, test


def _restoration(subject: Subject) -> dict[str, Any]:
    """per_image.csv and samples of a model that restores."""
    name, params = subject.name, subject.params
    scores: list[Score] = []
    kept: dict[str, int] = {}
    for condition, test in _tests(params):
        restored = subject.timed(subject.restore, test, condition.sigma_255)
        pixels = _pixels(restored, name, test.image)
        clean, output, data_range = _scored(subject.model, test, restored, pixels)
        scores.append(
            Score(
                **_tested(subject, condition, test),
                psnr=metrics.psnr(clean, output, data_range=data_range),
                ssim=metrics.ssim(clean, output, data_range=data_range),
                mse=metrics.mse(clean, output, data_range=data_range),
            )
        )
        number = kept.setdefault(condition.name, 0)
        if test.draw == 0 and number < params.evaluate.samples:
            images.write_png(paths.samples(name) / condition.name / f"{number:02d}.png", pixels)
            kept[condition.name] += 1
    write(paths.evaluation(name) / "per_image.csv", scores, Score)
    return summarise(scores, model_store.parameters(subject.model))


def _classification(subject: Subject) -> dict[str, Any]:
    """per_image.csv of a classifier."""
    rows = []
    for condition, test in _tests(subject.params):
        if test.label not in subject.classes:
            raise ValueError(f"{test.image}: its class {test.label!r} is none of {', '.join(subject.classes)}")
        predicted = subject.classes[int(subject.timed(subject.classify, test, condition.sigma_255).argmax())]
        rows.append(Prediction(**_tested(subject, condition, test), predicted=predicted))
    write(paths.evaluation(subject.name) / "per_image.csv", rows, Prediction)
    return summarise_predictions(rows, model_store.parameters(subject.model))


def _at_level(subject: Subject, level: float, test: conditions.TestImage) -> LevelScore:
    restored = subject.restore(test, level)
    clean, output, data_range = _scored(subject.model, test, restored, _pixels(restored, subject.name, test.image))
    return LevelScore(
        model=subject.name,
        sigma_255=level,
        image=test.image,
        psnr=metrics.psnr(clean, output, data_range=data_range),
        ssim=metrics.ssim(clean, output, data_range=data_range),
    )


def pictures(params: Params, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The middle of the kept samples as strips noisy, restored, clean: (key, (h, 3 w, C) uint8)."""
    for condition in conditions.names(paths.NOISY):
        tests = conditions.test(paths.RAW, paths.NOISY, condition, params.data.channels)
        first = (test for test in tests if test.draw == 0)
        for n, test in enumerate(islice(first, params.evaluate.samples)):
            path = paths.samples(name) / condition / f"{n:02d}.png"
            if not path.exists():  # a classifier makes none
                return
            restored = images.read(path, params.data.channels)
            parts = [metrics.to_uint8(test.noisy), restored.reshape(test.clean.shape), test.clean]
            yield f"test/{condition}/{test.image}", np.concatenate([images.middle(p, STRIP) for p in parts], axis=1)


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


def _tested(subject: Subject, condition: conditions.Condition, test: conditions.TestImage) -> dict[str, Any]:
    """What a row of per_image.csv is about."""
    return {
        "model": subject.name,
        "condition": condition.name,
        "protocol": condition.protocol.name,
        "protocol_sha256": condition.protocol.sha256,
        "sets": " ".join(test.sets),
        "image": test.image,
        "label": test.label,
        "draw": test.draw,
        "seed": subject.params.seed,
    }
