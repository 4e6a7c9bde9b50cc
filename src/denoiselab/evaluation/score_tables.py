"""per_image.csv, curve.csv and metrics.json: scores by image and condition, and their means."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from denoiselab.runtime import files


@dataclass(frozen=True)
class RowKey:
    """Columns that identify a row of per_image.csv."""

    model: str
    condition: str
    protocol: str
    protocol_sha256: str  # its first 12 digits
    sets: str  # test sets of the image, separated by spaces
    image: str
    label: str
    group: str  # images of one group (scene) are not independent
    draw: int  # of the noise
    seed: int  # of the training run


@dataclass(frozen=True)
class ImageScore(RowKey):
    """Scores of a restored image, NaN if the output is not finite.

    `psnr` in dB, at most image_quality.HIGHEST_PSNR; `mse` relative to the squared range; `dark_bias` and `bright_bias`
    of 255, see image_quality.tone_bias.
    """

    psnr: float
    ssim: float
    mse: float
    dark_bias: float
    bright_bias: float


@dataclass(frozen=True)
class LpipsScore(ImageScore):
    """ImageScore with the perceptual distance."""

    lpips: float


@dataclass(frozen=True)
class HeldOutScore(RowKey):
    """No-reference scores of a restored image, see denoiselab.metrics.no_reference.

    NaN if the output is not finite, or constant where a correlation is needed.
    """

    held_out: float  # dB; accuracy of blind-spot prediction, against the noisy pixels
    sigma_255: float  # estimated noise level of the noisy image ...
    sigma_255_left: float  # ... and of the output
    noise_correlation: float  # of neighbouring pixels; the other scores assume about 0
    residual_correlation: float  # of neighbouring pixels of the residual (noisy - restored): 0 for independent noise
    structure: float  # correlation of the residual with details of the output: 0 if only noise was removed


@dataclass(frozen=True)
class Prediction(RowKey):
    """Predicted class of an image."""

    predicted: str


@dataclass(frozen=True)
class LevelScore:
    """A row of curve.csv: an image at one noise level."""

    model: str
    sigma_255: float
    image: str
    psnr: float
    ssim: float


FULL_REFERENCE = ("psnr", "ssim", "mse", "dark_bias", "bright_bias", "lpips")
NO_REFERENCE = tuple(f.name for f in fields(HeldOutScore))[len(fields(RowKey)) :]
Row = type[ImageScore] | type[LpipsScore] | type[HeldOutScore] | type[Prediction] | type[LevelScore]


def write(path: Path, rows: Sequence[Any], kind: Row) -> None:
    """Write rows of a kind; without rows, only the header."""
    files.write_csv(path, [f.name for f in fields(kind)], map(asdict, rows))


def summarise(scores: Sequence[ImageScore], parameters: int) -> dict[str, Any]:
    """Means by condition and, with several test sets, by set/condition.

    Outputs that are not finite are counted and left out of the means.
    """
    result: dict[str, Any] = {"parameters": parameters}
    for key, rows in _groups(scores).items():
        scores_of = {name: [getattr(row, name) for row in rows] for name in FULL_REFERENCE if hasattr(rows[0], name)}
        finite = {name: [value for value in values if not math.isnan(value)] for name, values in scores_of.items()}
        result[key] = {
            **{name: fmean(values) if values else None for name, values in finite.items()},
            "images": len({row.image for row in rows}),
            "identical": sum(mse == 0 for mse in scores_of["mse"]),
            "not_finite": sum(map(math.isnan, scores_of["psnr"])),
        }
    return result


def summarise_held_out(scores: Sequence[HeldOutScore], parameters: int) -> dict[str, Any]:
    """Means of the no-reference scores by condition, ignoring NaN."""
    result: dict[str, Any] = {"parameters": parameters}
    for key, rows in _groups(scores).items():
        finite = {name: [v for row in rows if not math.isnan(v := getattr(row, name))] for name in NO_REFERENCE}
        means = {name: fmean(values) if values else None for name, values in finite.items()}
        result[key] = means | {
            "images": len({row.image for row in rows}),
            "not_finite": sum(math.isnan(row.held_out) for row in rows),
        }
    return result


def summarise_predictions(rows: list[Prediction], parameters: int) -> dict[str, Any]:
    """Accuracy by condition and, with several test sets, by set/condition."""
    result: dict[str, Any] = {"parameters": parameters}
    for key, group in _groups(rows).items():
        accuracy = fmean(row.predicted == row.label for row in group)
        result[key] = {"accuracy": accuracy, "images": len({row.image for row in group})}
    return result


def _groups(rows: Sequence[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    sets = {name for row in rows for name in row.sets.split()}
    for row in rows:
        groups.setdefault(row.condition, []).append(row)
        for name in row.sets.split() if len(sets) > 1 else []:
            groups.setdefault(f"{name}/{row.condition}", []).append(row)
    return groups
