"""Score a trained model on the stored test images: a row an image and condition, pictures, and the time it took."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
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
    distributed,
    draws,
    files,
    images,
    inference,
    lpips,
    metrics,
    model_store,
    parallel,
    paths,
    placement,
)
from denoiselab.config import Parallel, Params
from denoiselab.estimation import estimate_sigma_255
from denoiselab.scores import LevelScore, LpipsScore, Prediction, Score, summarise, summarise_predictions, write

WARM_UP = 96  # pixels, side of the crop that is restored once before the clock starts
ALONE = 3  # test images that are restored one at a time, with nothing beside them, to tell time and memory
READERS = 4  # threads that read and measure while a CUDA device computes
STRIP = 256  # pixels, side of the pictures for the tracking store

Test = tuple[conditions.Condition, conditions.Stored]
Output = tuple[conditions.Condition, conditions.TestImage, np.ndarray]


@dataclass(frozen=True)
class Result:
    """The score of one output, and what else is kept of it."""

    score: Score | Prediction
    condition: conditions.Condition
    pixels: np.ndarray | None = None  # (H, W, C) uint8, of the noise's first draw
    gain: float = float("nan")  # dB over the noisy input; NaN where the output is not finite
    seen: dict[str, Any] | None = None  # for the alarms; None where there is nothing to be alarmed about


@dataclass(frozen=True)
class Subject:
    """A model under evaluation, in three steps for each test image: `read`, `compute`, `measure`.

    It may be sent to another process.
    """

    params: Params
    name: str
    number: int  # of the training: 0 for the first seed
    model: nn.Module
    card: dict[str, Any]
    device: torch.device
    trained: tuple[float, float] | None  # lowest and highest sigma of 255, where known
    perceptual: lpips.Lpips | None

    @property
    def classes(self) -> list[str]:
        return list(self.card["classes"])

    @property
    def classifies(self) -> bool:
        return bool(self.card["task"] == "classify")

    @property
    def as_it_is(self) -> bool:
        """Whether the output is the noisy input, which is neither clamped nor rounded before it is measured."""
        return getattr(self.model, "as_it_is", False)

    def read(self, test: Test) -> tuple[conditions.Condition, conditions.TestImage]:
        condition, stored = test
        return condition, stored.read(self.params.data.channels)

    def compute(self, given: tuple[conditions.Condition, conditions.TestImage]) -> Output:
        """With the restored image (H, W, C) float32, or the scores of the classes (classes,)."""
        condition, test = given
        output = self.classify if self.classifies else self.restore
        return condition, test, output(test, condition.sigma_255)

    def measure(self, output: Output) -> Result:
        return _predicted(self, *output) if self.classifies else _scored(self, *output)

    def whole(self, test: Test) -> Result:
        """All three steps."""
        return self.measure(self.compute(self.read(test)))

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

    def at_level(self, point: tuple[float, conditions.TestImage]) -> LevelScore:
        """A row of curve.csv."""
        level, test = point
        return self.measure_level((level, test, self.restore(test, level)))

    def measure_level(self, output: tuple[float, conditions.TestImage, np.ndarray]) -> LevelScore:
        level, test, restored = output
        measured = _measured(test, restored, as_it_is=self.as_it_is)
        return LevelScore(self.name, level, test.image, psnr=measured["psnr"], ssim=measured["ssim"])


def evaluate(params: Params, name: str) -> list[dict[str, Any]]:
    """Evaluate every training of models/<name>/ on every stored condition, write the files; returns each one's means.

    metrics.json has those of all; pictures, curve and time are of the first. Several processes share the images out;
    the first one writes the files, the others return nothing.
    """
    trainings = distributed.from_first(lambda: len(paths.trainings(name)))
    subjects = [_subject(params, name, number) for number in range(trainings)]
    first, tests = subjects[0], _tests(params)
    distributed.agree(images=[(condition.name, test.row.image, test.sha256) for condition, test in tests])
    outputs, cost = _alone(first, tests[:ALONE]) if distributed.first() else ([], {})
    distributed.broadcast(cost)  # until when the others wait
    watch = alarms.Watch(params.evaluate.alarms, first.trained)
    rows = [_watched(chain(map(first.measure, outputs), _results(first, tests[ALONE:])), first, watch)]
    rows += [_watched(_results(subject, tests), subject, watch) for subject in subjects[1:]]
    levels = list(_curve(first))
    if not distributed.first():
        return []
    every = [row for own in rows for row in own]
    kind = LpipsScore if params.evaluate.lpips else Score
    files.write_json(paths.inference_cost(name), cost)
    write(paths.evaluation(name) / "per_image.csv", every, Prediction if first.classifies else kind)
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    means: Callable[..., dict[str, Any]] = summarise_predictions if first.classifies else summarise
    parameters = model_store.parameters(first.model)
    files.write_json(paths.evaluation(name) / "metrics.json", means(every, parameters))
    files.write_json(paths.evaluation(name) / "alarms.json", [asdict(alarm) for alarm in watch.alarms()])
    return [means(own, parameters) for own in rows]


def _subject(params: Params, name: str, number: int) -> Subject:
    """Of several processes the first one reads it: other machines need not have it."""
    device = placement.device(params, name)
    devices.prepare(device)
    model, card = distributed.from_first(lambda: _loaded(paths.trainings(name)[number]))
    perceptual = lpips.load(params.evaluate.lpips).to(device) if params.evaluate.lpips else None
    trained = _trained_levels(params, name, card)
    return Subject(params, name, number, model.to(device).eval(), card, device, trained, perceptual)


def _loaded(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    return model_store.load(folder), model_store.read_card(folder)


def _tests(params: Params) -> list[Test]:
    """All that there is to do, in the order of the rows."""
    found = (conditions.read(paths.NOISY, key) for key in conditions.names(paths.NOISY))
    return [(one, stored) for one in found for stored in conditions.stored(paths.RAW, paths.NOISY, one.name)]


def _trained_levels(params: Params, name: str, card: dict[str, Any]) -> tuple[float, float] | None:
    """The lowest and highest sigma of 255 that a net was trained on, if that is known and was Gaussian noise."""
    spec, unknown = card["noise"]["train"], card["imported"] and not params.entry(name).noise
    if spec["kind"] != "gaussian" or unknown or not card["parameters"]:
        return None
    levels = spec["sigma_255"] if isinstance(spec["sigma_255"], list) else [spec["sigma_255"]]
    return min(levels), max(levels)


def _alone(subject: Subject, tests: Sequence[Test]) -> tuple[list[Output], dict[str, Any]]:
    """The outputs of the first test images, and what they cost: nothing else runs meanwhile, on the CPU with all of
    torch's threads."""
    given = [subject.read(test) for test in tests]
    for condition, test in given[:1]:
        crop = np.s_[:WARM_UP, :WARM_UP]
        subject.compute((condition, replace(test, clean=test.clean[crop], noisy=test.noisy[crop])))
    outputs, times = [], []
    for condition, test in given:
        started = time.perf_counter()
        outputs.append(subject.compute((condition, test)))
        megapixels = test.clean.shape[0] * test.clean.shape[1] / 1e6
        times.append(1000 * (time.perf_counter() - started) / megapixels)
    cost = {"ms_per_megapixel": median(times), "device": devices.describe(subject.device)}
    return outputs, cost | costs.of(subject.model, paths.trainings(subject.name)[subject.number], subject.device)


def _results(subject: Subject, tests: list[Test]) -> Iterator[Result]:
    """On the CPU images side by side, each in one thread; on CUDA one after another, others being read and measured."""
    own = distributed.share(tests)
    if subject.device.type == "cpu":
        return distributed.in_order(parallel.each(subject.params.parallel, subject.whole, own))
    beside = _beside(subject)
    outputs = map(subject.compute, parallel.each(beside, subject.read, own))
    return distributed.in_order(parallel.each(beside, subject.measure, outputs))


def _curve(subject: Subject) -> Iterator[LevelScore]:
    """PSNR by noise level, of what restores."""
    points = draws.curve(paths.RAW, subject.params) if not subject.classifies else iter(())
    own = islice(points, distributed.rank(), None, distributed.world())
    if subject.device.type == "cpu":
        return distributed.in_order(parallel.each(subject.params.parallel, subject.at_level, own))
    outputs = ((level, test, subject.restore(test, level)) for level, test in own)
    return distributed.in_order(parallel.each(_beside(subject), subject.measure_level, outputs))


def _beside(subject: Subject) -> Parallel:
    """A few threads of this machine, for what is done beside a CUDA device."""
    return Parallel(jobs=min(READERS, parallel.cores(subject.params.parallel)), scheduler=None)


def _watched(results: Iterable[Result], subject: Subject, watch: alarms.Watch) -> list[Any]:
    """The rows of a training; `watch` looks at every output, and pictures of some of the first training's are kept."""
    scores = []
    samples, keeps = subject.params.evaluate.samples, not subject.number and distributed.first()
    with cases.keeping(paths.samples(subject.name), samples) if keeps else nullcontext() as keeper:
        for result in results:
            scores.append(result.score)
            if result.seen is not None:
                watch.look(result.condition.name, result.score.image, **result.seen)
            if keeper and result.pixels is not None:
                keeper.add(result.condition.name, result.score.image, result.gain, result.pixels)
    return scores


def _scored(
    subject: Subject, condition: conditions.Condition, test: conditions.TestImage, restored: np.ndarray
) -> Result:
    """Of a model that restores."""
    restored = np.ascontiguousarray(restored)
    pixels = _pixels(restored)
    measured = _measured(test, restored, pixels, as_it_is=subject.as_it_is, perceptual=subject.perceptual)
    kind = LpipsScore if subject.perceptual else Score
    score = kind(**(_tested(subject, condition, test) | measured))
    gain = score.psnr - test.psnr_noisy
    seen = None if subject.as_it_is else _seen(subject, condition, test, restored, gain)
    return Result(score, condition, pixels if not (subject.number or test.draw) else None, gain, seen)


def _seen(
    subject: Subject,
    condition: conditions.Condition,
    test: conditions.TestImage,
    restored: np.ndarray,
    gain: float,
) -> dict[str, Any]:
    """What alarms.Watch.look takes."""
    planar = torch.from_numpy(test.noisy).permute(2, 0, 1)[None]
    return {
        "findings": alarms.examine(test.clean, test.noisy, restored),
        "gain": gain if test.psnr_noisy < metrics.HIGHEST_PSNR else float("nan"),  # nothing to be gained
        "level": estimate_sigma_255(planar).item() if subject.trained else float("nan"),
        "clipped": condition.spec["clip"],
    }


def _predicted(
    subject: Subject, condition: conditions.Condition, test: conditions.TestImage, scores: np.ndarray
) -> Result:
    """What a classifier takes a test image for."""
    if test.label not in subject.classes:
        raise ValueError(f"{test.image}: its class {test.label!r} is none of {', '.join(subject.classes)}")
    predicted = subject.classes[int(scores.argmax())]
    return Result(Prediction(**_tested(subject, condition, test), predicted=predicted), condition)


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
    test: conditions.TestImage,
    restored: np.ndarray,
    pixels: np.ndarray | None = None,
    *,
    as_it_is: bool = False,
    perceptual: lpips.Lpips | None = None,
) -> dict[str, float]:
    """PSNR, SSIM, MSE and, where it is given, LPIPS of the output's 8 bits (`pixels`, if they are at hand), or of the
    noisy input as it is; NaN for outputs that are not finite."""
    scores: dict[str, Callable[..., float]] = {"psnr": metrics.capped_psnr, "ssim": metrics.ssim, "mse": metrics.mse}
    if perceptual:
        scores["lpips"] = perceptual.between
    if not np.isfinite(restored).all():
        return dict.fromkeys(scores, float("nan"))
    if as_it_is:
        clean, output, data_range = test.clean / 255.0, restored.astype(np.float64), 1.0
    else:
        clean, output, data_range = test.clean, _pixels(restored) if pixels is None else pixels, 255.0
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
