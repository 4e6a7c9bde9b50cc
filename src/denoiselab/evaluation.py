"""Score a trained model on the stored test images: a row an image and condition, pictures, and the time it took."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from denoiselab import alarms, conditions, costs, devices, files, images, inference, lpips, metrics, model_store, paths
from denoiselab.config import Params
from denoiselab.estimation import estimate_sigma_255
from denoiselab.scores import LevelScore, LpipsScore, Prediction, Score, summarise, summarise_predictions, write

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
    watch = alarms.Watch(params.evaluate.alarms, _trained_levels(card))
    paths.samples(name).mkdir(parents=True, exist_ok=True)
    classifier = card["task"] == "classify"
    summary = _classification(subject) if classifier else _restoration(subject, watch)
    levels = (
        [] if classifier else [_at_level(subject, level, test) for level, test in conditions.curve(paths.RAW, params)]
    )
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    files.write_json(paths.evaluation(name) / "metrics.json", summary)
    files.write_json(paths.evaluation(name) / "alarms.json", [asdict(alarm) for alarm in watch.alarms()])
    cost = {"ms_per_megapixel": median(subject.cost), "device": devices.describe(device)}
    cost |= costs.of(model, paths.model(name), device)
    files.write_json(paths.inference_cost(name), cost)
    return summary


def _tests(params: Params) -> Iterator[tuple[conditions.Condition, conditions.TestImage]]:
    for condition in (conditions.read(paths.NOISY, key) for key in conditions.names(paths.NOISY)):
        for test in conditions.test(paths.RAW, paths.NOISY, condition.name, params.data.channels):
            yield condition, test


def _trained_levels(card: dict[str, Any]) -> tuple[float, float] | None:
    """The lowest and highest sigma of 255 that a net was trained on here, if that was Gaussian noise."""
    spec = card["noise"]["train"]
    if spec["kind"] != "gaussian" or card["imported"] or not card["parameters"]:
        return None
    levels = spec["sigma_255"] if isinstance(spec["sigma_255"], list) else [spec["sigma_255"]]
    return min(levels), max(levels)


def _restoration(subject: Subject, watch: alarms.Watch) -> dict[str, Any]:
    """per_image.csv and samples of a model that restores; `watch` looks at every output."""
    name, params = subject.name, subject.params
    perceptual = lpips.load(params.evaluate.lpips).to(subject.device) if params.evaluate.lpips else None
    kind = LpipsScore if perceptual else Score
    scores: list[Score] = []
    kept: dict[str, int] = {}
    for condition, test in _tests(params):
        restored = subject.timed(subject.restore, test, condition.sigma_255)
        measured = _measured(subject.model, test, restored, perceptual)
        scores.append(kind(**(_tested(subject, condition, test) | measured)))
        if not getattr(subject.model, "as_it_is", False):
            _watch(watch, condition, test, restored, scores[-1].psnr)
        number = kept.setdefault(condition.name, 0)
        if test.draw == 0 and number < params.evaluate.samples:
            images.write_png(paths.samples(name) / condition.name / f"{number:02d}.png", _pixels(restored))
            kept[condition.name] += 1
    write(paths.evaluation(name) / "per_image.csv", scores, kind)
    return summarise(scores, model_store.parameters(subject.model))


def _watch(
    watch: alarms.Watch, condition: conditions.Condition, test: conditions.TestImage, restored: np.ndarray, psnr: float
) -> None:
    planar = torch.from_numpy(test.noisy).permute(2, 0, 1)[None]
    watch.look(
        condition.name,
        test.image,
        alarms.examine(test.clean, test.noisy, restored),
        gain=psnr - metrics.psnr(test.clean / 255.0, test.noisy, data_range=1),
        level=estimate_sigma_255(planar).item(),
        clipped=condition.spec["clip"],
    )


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
    measured = _measured(subject.model, test, restored)
    return LevelScore(subject.name, level, test.image, psnr=measured["psnr"], ssim=measured["ssim"])


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


def _pixels(restored: np.ndarray) -> np.ndarray:
    """As a picture (H, W, C) uint8; black where values are NaN."""
    return metrics.to_uint8(np.nan_to_num(restored))


def _measured(
    model: nn.Module, test: conditions.TestImage, restored: np.ndarray, perceptual: lpips.Lpips | None = None
) -> dict[str, float]:
    """PSNR, SSIM, MSE and, where it is given, LPIPS of 8 bits, but for the noisy input, which is measured as it is; NaN
    for outputs that are not finite."""
    scores: dict[str, Callable[..., float]] = {"psnr": metrics.psnr, "ssim": metrics.ssim, "mse": metrics.mse}
    if perceptual:
        scores["lpips"] = perceptual.between
    if not np.isfinite(restored).all():
        return dict.fromkeys(scores, float("nan"))
    if getattr(model, "as_it_is", False):
        clean, output, data_range = test.clean / 255.0, restored.astype(np.float64), 1.0
    else:
        clean, output, data_range = test.clean, _pixels(restored), 255.0
    return {name: score(clean, output, data_range=data_range) for name, score in scores.items()}


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
