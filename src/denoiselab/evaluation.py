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

from denoiselab import (
    alarms,
    cases,
    conditions,
    costs,
    devices,
    draws,
    files,
    images,
    inference,
    lpips,
    metrics,
    model_store,
    paths,
)
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
    number: int  # of the training: 0 for the first seed
    model: nn.Module
    card: dict[str, Any]
    device: torch.device
    cost: list[float] = field(default_factory=list)  # ms per megapixel of each image

    @property
    def classes(self) -> list[str]:
        return list(self.card["classes"])

    def timed(self, output: Output, test: conditions.TestImage, level: float) -> np.ndarray:
        """`output` of an image, its time added to `cost`."""
        if not self.cost:
            crop = np.s_[:WARM_UP, :WARM_UP]
            small = conditions.TestImage("", test.label, "", (), 0, test.clean[crop], test.noisy[crop])
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


def evaluate(params: Params, name: str) -> list[dict[str, Any]]:
    """Evaluate every training of models/<name>/ on every stored condition, write the files; returns each one's means.

    metrics.json has those of all; pictures, curve and time are of the first.
    """
    first = _subject(params, name, 0)
    watch = alarms.Watch(params.evaluate.alarms, _trained_levels(params, name, first.card))
    classifier = first.card["task"] == "classify"
    subjects = [first, *(_subject(params, name, n) for n in range(1, len(paths.trainings(name))))]
    with cases.keeping(paths.samples(name), params.evaluate.samples) as keeper:
        kept = [keeper, *([None] * (len(subjects) - 1))]
        rows: list[list[Any]] = [
            _classified(s) if classifier else _restored(s, watch, k) for s, k in zip(subjects, kept, strict=True)
        ]
    every = [row for own in rows for row in own]
    kind = LpipsScore if params.evaluate.lpips else Score
    write(paths.evaluation(name) / "per_image.csv", every, Prediction if classifier else kind)
    levels = [] if classifier else [_at_level(first, level, test) for level, test in draws.curve(paths.RAW, params)]
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    means = summarise_predictions if classifier else summarise
    parameters = model_store.parameters(first.model)
    files.write_json(paths.evaluation(name) / "metrics.json", means(every, parameters))
    files.write_json(paths.evaluation(name) / "alarms.json", [asdict(alarm) for alarm in watch.alarms()])
    cost = {"ms_per_megapixel": median(first.cost), "device": devices.describe(first.device)}
    cost |= costs.of(first.model, paths.trainings(name)[0], first.device)
    files.write_json(paths.inference_cost(name), cost)
    return [means(own, parameters) for own in rows]


def _subject(params: Params, name: str, number: int) -> Subject:
    folder = paths.trainings(name)[number]
    device = devices.choose(params.training(name).device)
    devices.prepare(device)
    return Subject(params, name, number, model_store.load(folder).to(device), model_store.read_card(folder), device)


def _tests(params: Params) -> Iterator[tuple[conditions.Condition, conditions.TestImage]]:
    for condition in (conditions.read(paths.NOISY, key) for key in conditions.names(paths.NOISY)):
        for test in conditions.test(paths.RAW, paths.NOISY, condition.name, params.data.channels):
            yield condition, test


def _trained_levels(params: Params, name: str, card: dict[str, Any]) -> tuple[float, float] | None:
    """The lowest and highest sigma of 255 that a net was trained on, if that is known and was Gaussian noise."""
    spec, unknown = card["noise"]["train"], card["imported"] and not params.entry(name).noise
    if spec["kind"] != "gaussian" or unknown or not card["parameters"]:
        return None
    levels = spec["sigma_255"] if isinstance(spec["sigma_255"], list) else [spec["sigma_255"]]
    return min(levels), max(levels)


def _restored(subject: Subject, watch: alarms.Watch, kept: cases.Keeper | None) -> list[Score]:
    """The scores of a model that restores; `watch` looks at every output, `kept` keeps pictures of some."""
    params = subject.params
    perceptual = lpips.load(params.evaluate.lpips).to(subject.device) if params.evaluate.lpips else None
    kind = LpipsScore if perceptual else Score
    scores: list[Score] = []
    for condition, test in _tests(params):
        restored = subject.timed(subject.restore, test, condition.sigma_255)
        measured = _measured(subject.model, test, restored, perceptual)
        scores.append(kind(**(_tested(subject, condition, test) | measured)))
        gain = scores[-1].psnr - test.psnr_noisy
        if not getattr(subject.model, "as_it_is", False):
            _watch(watch, condition, test, restored, gain)
        if kept and test.draw == 0:
            kept.add(condition.name, test.image, gain, _pixels(restored))
    return scores


def _watch(
    watch: alarms.Watch, condition: conditions.Condition, test: conditions.TestImage, restored: np.ndarray, gain: float
) -> None:
    planar = torch.from_numpy(test.noisy).permute(2, 0, 1)[None]
    watch.look(
        condition.name,
        test.image,
        alarms.examine(test.clean, test.noisy, restored),
        gain=gain if test.psnr_noisy < metrics.HIGHEST_PSNR else float("nan"),  # nothing to be gained
        level=estimate_sigma_255(planar).item(),
        clipped=condition.spec["clip"],
    )


def _classified(subject: Subject) -> list[Prediction]:
    """What a classifier takes the test images for."""
    rows = []
    for condition, test in _tests(subject.params):
        if test.label not in subject.classes:
            raise ValueError(f"{test.image}: its class {test.label!r} is none of {', '.join(subject.classes)}")
        predicted = subject.classes[int(subject.timed(subject.classify, test, condition.sigma_255).argmax())]
        rows.append(Prediction(**_tested(subject, condition, test), predicted=predicted))
    return rows


def _at_level(subject: Subject, level: float, test: conditions.TestImage) -> LevelScore:
    restored = subject.restore(test, level)
    measured = _measured(subject.model, test, restored)
    return LevelScore(subject.name, level, test.image, psnr=measured["psnr"], ssim=measured["ssim"])


def pictures(params: Params, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The middle of the kept samples as strips noisy, restored, clean: (key, (h, 3 w, C) uint8)."""
    for condition in conditions.names(paths.NOISY):
        tests = conditions.test(paths.RAW, paths.NOISY, condition, params.data.channels, draw=0)
        for n, test in enumerate(islice(tests, params.evaluate.samples)):
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
    scores: dict[str, Callable[..., float]] = {"psnr": metrics.capped_psnr, "ssim": metrics.ssim, "mse": metrics.mse}
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
        "group": test.group,
        "draw": test.draw,
        "seed": subject.card["seed"],
    }
