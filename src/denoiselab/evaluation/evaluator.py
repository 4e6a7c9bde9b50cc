"""Runs a trained model on test images and scores its outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from denoiselab.config import Params
from denoiselab.data import noisy_sets
from denoiselab.evaluation import output_checks
from denoiselab.evaluation.kept_outputs import KeptOutputs
from denoiselab.evaluation.score_tables import (
    NO_REFERENCE,
    HeldOutScore,
    ImageScore,
    LevelScore,
    LpipsScore,
    Prediction,
    Row,
    summarise,
    summarise_held_out,
    summarise_predictions,
)
from denoiselab.imaging import depths, tensors
from denoiselab.metrics import image_quality, lpips, no_reference
from denoiselab.models import device_choice, model_store, tiled_inference
from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.runtime import devices, distributed, paths
from denoiselab.runtime.errors import UserError

Test = tuple[noisy_sets.Condition, noisy_sets.Stored]
Output = tuple[noisy_sets.Condition, noisy_sets.TestImage, np.ndarray]
Point = tuple[float, noisy_sets.TestImage]  # of the curve: sigma_255, crop with noise of that level


@dataclass(frozen=True)
class Result:
    """Score of one output, with its pixels and the input of the alarms."""

    score: ImageScore | HeldOutScore | Prediction
    condition: noisy_sets.Condition
    pixels: np.ndarray | None = None  # (H, W, C) uint8, for the first noise draw only
    gain: float = float(
        "nan"
    )  # dB above the noisy input (without clean images: the mean of neighbours); NaN: not finite
    observed: dict[str, Any] | None = None  # arguments of output_checks.Monitor.observe; None: not monitored


@dataclass(frozen=True)
class Subject:
    """A model under evaluation; can be sent to another process.

    Steps for each test image: `read`, `compute`, `predict`, `measure`; for each point of the curve: `compute_level`,
    `measure_level`.
    """

    params: Params
    name: str
    number: int  # of the training run; 0 is the first seed
    model: nn.Module
    card: dict[str, Any]
    device: torch.device
    precision: str
    trained: tuple[float, float] | None  # lowest and highest training sigma (of 255), if known
    perceptual: lpips.Lpips | None
    kept: KeptOutputs | None = None  # of an evaluation that was killed

    @property
    def classes(self) -> list[str]:
        return list(self.card["classes"])

    @property
    def classifies(self) -> bool:
        return bool(self.card["task"] == "classify")

    def row_type(self, tests: Sequence[Test]) -> tuple[Row, Callable[..., dict[str, Any]]]:
        """The type of its rows on these tests, and the function that summarises them."""
        if self.classifies:
            return Prediction, summarise_predictions
        if not all(condition.has_clean for condition, _ in tests):
            return HeldOutScore, summarise_held_out
        return LpipsScore if self.perceptual else ImageScore, summarise

    @property
    def as_it_is(self) -> bool:
        """Whether the model returns the noisy input, which is scored without clamping and rounding."""
        return getattr(self.model, "as_it_is", False)

    def read(self, test: Test) -> tuple[noisy_sets.Condition, noisy_sets.TestImage]:
        condition, stored = test
        return condition, stored.read(self.params.data.channels)

    def compute(self, given: tuple[noisy_sets.Condition, noisy_sets.TestImage]) -> Output:
        """Add the restored image (H, W, C) float32, or the class scores (classes,)."""
        condition, test = given
        output = self.classify if self.classifies else self.restore
        return condition, test, output(test, condition.sigma_255)

    def predict(self, output: Output) -> Output:
        """Without clean images: adds the output for the masked image (blind-spot prediction): (2, H, W, C)."""
        condition, test, restored = output
        if self.classifies or condition.has_clean:
            return output
        masked = replace(test, noisy=no_reference.mask_array(test.noisy))
        return condition, test, np.stack([restored, self.restore(masked, condition.sigma_255)])

    def measure(self, output: Output) -> Result:
        if self.classifies:
            return _classified(self, *output)
        return (_scored if output[0].has_clean else _scored_without_reference)(self, *output)

    def restore(self, test: noisy_sets.TestImage, level: float) -> np.ndarray:
        """The restored image (H, W, C) float32."""
        label = self.classes.index(test.label) if test.label in self.classes else None
        compute = partial(
            tiled_inference.restore,
            self.model,
            test.noisy,
            device=self.device,
            sigma_255=level,
            label=label,
            tile=self.params.evaluate.tile,
            precision=self.precision,
        )
        return self.kept.output(test.noisy, level, label, compute) if self.kept else compute()

    def keeping(self) -> "Subject":
        """The same, which keeps the outputs that take long until `kept.remove`."""
        settings = {"device": self.device.type, "precision": self.precision, "tile": self.params.evaluate.tile}
        return replace(self, kept=KeptOutputs.of(self.name, self.number, **settings))

    @torch.inference_mode()
    def classify(self, test: noisy_sets.TestImage, level: float) -> np.ndarray:
        """The class scores (classes,)."""
        planar = tensors.planar(test.noisy).to(self.device)
        with devices.enough_memory(
            self.device, "a classifier cannot run in tiles; train.device: cpu may have more memory"
        ):
            return tiled_inference.forward(self.model, planar, level)[0].cpu().numpy()

    def compute_level(self, point: Point) -> tuple[float, noisy_sets.TestImage, np.ndarray]:
        """Add the restored image (H, W, C) float32 to a point of the curve."""
        level, test = point
        return level, test, self.restore(test, level)

    def measure_level(self, output: tuple[float, noisy_sets.TestImage, np.ndarray]) -> LevelScore:
        """A row of curve.csv."""
        level, test, restored = output
        measured = _measured(test, restored, as_it_is=self.as_it_is)
        return LevelScore(self.name, level, test.image, psnr=measured["psnr"], ssim=measured["ssim"])


def load(params: Params, name: str, number: int) -> Subject:
    """Load training run `number` of models/<name>/.

    With several processes only the first one reads it; other machines need no copy.
    """
    device = device_choice.device(params, name)
    devices.prepare(device)
    model, card = distributed.from_first(lambda: _loaded(paths.trainings(name)[number]))
    perceptual = lpips.load(params.evaluate.lpips).to(device) if params.evaluate.lpips else None
    trained = _trained_levels(params, name, card)
    precision = devices.precision(params.training(name).precision, device)
    model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]  # faster
    return Subject(params, name, number, model, card, device, precision, trained, perceptual)


def _loaded(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    return model_store.load(folder), model_store.read_card(folder)


def _trained_levels(params: Params, name: str, card: dict[str, Any]) -> tuple[float, float] | None:
    """Lowest and highest training sigma (of 255) of a network; None if unknown or not Gaussian."""
    spec, unknown = card["noise"]["train"], card["imported"] and not params.entry(name).noise
    if spec["kind"] != "gaussian" or unknown or not card["parameters"]:
        return None
    levels = spec["sigma_255"] if isinstance(spec["sigma_255"], list) else [spec["sigma_255"]]
    return min(levels), max(levels)


def _scored(
    subject: Subject, condition: noisy_sets.Condition, test: noisy_sets.TestImage, restored: np.ndarray
) -> Result:
    """Result of a restoration model with a clean reference."""
    restored = np.ascontiguousarray(restored)
    pixels = _pixels(restored)
    rounded = pixels if test.clean.dtype == np.uint8 else None
    measured = _measured(test, restored, rounded, as_it_is=subject.as_it_is, perceptual=subject.perceptual)
    kind = LpipsScore if subject.perceptual else ImageScore
    score = kind(**(_row_key(subject, condition, test) | measured))
    gain = score.psnr - test.psnr_noisy
    observed = None if subject.as_it_is else _observed(subject, condition, test, restored, gain)
    return Result(score, condition, pixels if not (subject.number or test.draw) else None, gain, observed)


def _scored_without_reference(
    subject: Subject, condition: noisy_sets.Condition, test: noisy_sets.TestImage, outputs: np.ndarray
) -> Result:
    """Result of a restoration model without clean reference; `outputs` from Subject.predict."""
    restored, predicted = outputs
    measured, gain = dict.fromkeys(NO_REFERENCE, float("nan")), float("nan")
    if np.isfinite(outputs).all():
        measured = no_reference.measures(test.noisy, restored, predicted)
        gain = measured["held_out"] - no_reference.prediction_score(test.noisy, no_reference.mask_array(test.noisy))
    score = HeldOutScore(**(_row_key(subject, condition, test) | measured))
    observed = None if subject.as_it_is else _observed(subject, condition, test, restored, float("nan"))
    return Result(score, condition, _pixels(restored) if not subject.number else None, gain, observed)


def _observed(
    subject: Subject,
    condition: noisy_sets.Condition,
    test: noisy_sets.TestImage,
    restored: np.ndarray,
    gain: float,
) -> dict[str, Any]:
    """Arguments of output_checks.Monitor.observe."""
    planar = tensors.planar(test.noisy)
    return {
        "findings": output_checks.examine(test.clean, test.noisy, restored),
        "gain": gain
        if test.psnr_noisy < image_quality.HIGHEST_PSNR
        else float("nan"),  # input identical to the clean image
        "level": estimate_sigma_255(planar).item() if subject.trained else float("nan"),
        "clipped": condition.spec["clip"],
    }


def _classified(
    subject: Subject, condition: noisy_sets.Condition, test: noisy_sets.TestImage, scores: np.ndarray
) -> Result:
    """Result of a classifier."""
    if test.label not in subject.classes:
        raise UserError(f"{test.image}: class {test.label!r} is unknown; choose from: {', '.join(subject.classes)}")
    predicted = subject.classes[int(scores.argmax())]
    return Result(Prediction(**_row_key(subject, condition, test), predicted=predicted), condition)


def _pixels(restored: np.ndarray) -> np.ndarray:
    """As (H, W, C) uint8; NaN becomes black."""
    return image_quality.to_uint8(np.nan_to_num(restored))


def _measured(
    test: noisy_sets.TestImage,
    restored: np.ndarray,
    rounded: np.ndarray | None = None,
    *,
    as_it_is: bool = False,
    perceptual: lpips.Lpips | None = None,
) -> dict[str, float]:
    """PSNR, SSIM, MSE, tone bias and (given `perceptual`) LPIPS of the output, clipped and rounded to the data's depth,
    or of the noisy input as it is.

    `rounded`: that output, if available. All scores are NaN if the output is not finite.
    """
    scores: dict[str, Callable[..., float]] = {
        "psnr": image_quality.capped_psnr,
        "ssim": image_quality.ssim,
        "mse": image_quality.mse,
    }
    if perceptual:
        scores["lpips"] = perceptual.between
    if not np.isfinite(restored).all():
        return dict.fromkeys([*scores, "dark_bias", "bright_bias"], float("nan"))
    dtype, white = test.clean.dtype, float(depths.white(test.clean.dtype))
    if as_it_is:
        clean, output, data_range = test.clean / white, restored.astype(np.float64), 1.0
    else:
        output, data_range = depths.from_unit(restored, dtype) if rounded is None else rounded, white
        clean = test.clean
    measured = {name: score(clean, output, data_range=data_range) for name, score in scores.items()}
    shown = test.clean if dtype == np.uint8 else test.clean * (255 / white)
    dark, bright = image_quality.tone_bias(shown, output * (255 / data_range))
    return measured | {"dark_bias": dark, "bright_bias": bright}


def _row_key(subject: Subject, condition: noisy_sets.Condition, test: noisy_sets.TestImage) -> dict[str, Any]:
    """The columns of score_tables.RowKey."""
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
