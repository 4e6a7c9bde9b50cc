"""per_image.csv, curve.csv and metrics.json: the scores of a model, a row an image and condition, and their means."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from denoiselab.runtime import files


@dataclass(frozen=True)
class Tested:
    """What a row of per_image.csv is about."""

    model: str
    condition: str
    protocol: str
    protocol_sha256: str  # its first 12 digits
    sets: str  # test sets of the image, separated by spaces
    image: str
    label: str
    group: str  # images of one group (a scene) are not independent
    draw: int  # of the noise
    seed: int  # of the training


@dataclass(frozen=True)
class ImageScore(Tested):
    """A restored image. `psnr` is in dB, at most metrics.HIGHEST_PSNR, `mse` a share of the squared range; all
    are NaN where the output was not finite."""

    psnr: float
    ssim: float
    mse: float


@dataclass(frozen=True)
class LpipsScore(ImageScore):
    """With the perceptual distance."""

    lpips: float


@dataclass(frozen=True)
class HeldOutScore(Tested):
    """A restored image without a clean one, see denoiselab.metrics.no_reference; NaN where the output was not finite,
    or what is correlated is all the same."""

    held_out: float  # dB; how well pixels are predicted that the model was not shown, measured on the noisy ones
    sigma_255: float  # estimated noise of the image ...
    sigma_255_left: float  # ... and of the output
    noise_correlation: float  # of neighbouring pixels; the rest is for independent ones
    residual_correlation: float  # of neighbouring pixels of what was taken away: 0 where it is noise of that kind alone
    structure: float  # correlation of what was taken away with the details that are left: 0 where it is noise alone


@dataclass(frozen=True)
class Prediction(Tested):
    """A classified image."""

    predicted: str


@dataclass(frozen=True)
class LevelScore:
    """A row of curve.csv: an image at one noise level."""

    model: str
    sigma_255: float
    image: str
    psnr: float
    ssim: float


MEASURED = ("psnr", "ssim", "mse", "lpips")
JUDGED = tuple(f.name for f in fields(HeldOutScore))[len(fields(Tested)) :]
Row = type[ImageScore] | type[LpipsScore] | type[HeldOutScore] | type[Prediction] | type[LevelScore]


def write(path: Path, rows: Sequence[Any], kind: Row) -> None:
    """Write rows of a kind; without any the file has its header alone."""
    files.write_csv(path, [f.name for f in fields(kind)], map(asdict, rows))


def summarise(scores: Sequence[ImageScore], parameters: int) -> dict[str, Any]:
    """Means by condition and, where there are several test sets, by set/condition.

    Outputs that are not finite are left out of the means and counted.
    """
    result: dict[str, Any] = {"parameters": parameters}
    for key, rows in _groups(scores).items():
        scores_of = {name: [getattr(row, name) for row in rows] for name in MEASURED if hasattr(rows[0], name)}
        finite = {name: [value for value in values if not math.isnan(value)] for name, values in scores_of.items()}
        result[key] = {
            **{name: fmean(values) if values else None for name, values in finite.items()},
            "images": len({row.image for row in rows}),
            "identical": sum(mse == 0 for mse in scores_of["mse"]),
            "not_finite": sum(map(math.isnan, scores_of["psnr"])),
        }
    return result


def summarise_held_out(scores: Sequence[HeldOutScore], parameters: int) -> dict[str, Any]:
    """Means by condition of images without clean ones, of what is a number."""
    result: dict[str, Any] = {"parameters": parameters}
    for key, rows in _groups(scores).items():
        finite = {name: [v for row in rows if not math.isnan(v := getattr(row, name))] for name in JUDGED}
        means = {name: fmean(values) if values else None for name, values in finite.items()}
        result[key] = means | {
            "images": len({row.image for row in rows}),
            "not_finite": sum(math.isnan(row.held_out) for row in rows),
        }
    return result


def summarise_predictions(rows: list[Prediction], parameters: int) -> dict[str, Any]:
    """Accuracy by condition and, where there are several test sets, by set/condition."""
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
