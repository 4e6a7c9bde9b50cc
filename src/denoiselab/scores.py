"""per_image.csv and metrics.json: the scores of a model, a row an image and condition, and their means."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from denoiselab import files


@dataclass(frozen=True)
class Score:
    """A row of per_image.csv. `psnr` is in dB and inf for identical images, `mse` a share of the squared range."""

    model: str
    condition: str
    protocol: str
    protocol_sha256: str  # its first 12 digits
    sets: str  # test sets of the image, separated by spaces
    image: str
    label: str
    draw: int
    seed: int
    psnr: float
    ssim: float
    mse: float


def write(path: Path, scores: list[Score]) -> None:
    """Write per_image.csv."""
    files.write_csv(path, [f.name for f in fields(Score)], map(asdict, scores))


def read(path: Path) -> list[Score]:
    """The rows of a per_image.csv. ValueError names a file that is missing."""
    return [_score(**row) for row in files.read_csv(path)]


def _score(*, draw: str, seed: str, psnr: str, ssim: str, mse: str, **texts: str) -> Score:
    return Score(**texts, draw=int(draw), seed=int(seed), psnr=float(psnr), ssim=float(ssim), mse=float(mse))


def summarise(scores: list[Score], parameters: int) -> dict[str, Any]:
    """Means by condition and, where there are several test sets, by set/condition.

    A PSNR of inf is left out of its mean and counted.
    """
    result: dict[str, Any] = {"parameters": parameters}
    groups: dict[str, list[Score]] = {}
    sets = {name for score in scores for name in score.sets.split()}
    for score in scores:
        groups.setdefault(score.condition, []).append(score)
        for name in score.sets.split() if len(sets) > 1 else []:
            groups.setdefault(f"{name}/{score.condition}", []).append(score)
    for key, rows in groups.items():
        finite = [row.psnr for row in rows if math.isfinite(row.psnr)]
        means = {
            "psnr": fmean(finite) if finite else None,
            "ssim": fmean(r.ssim for r in rows),
            "mse": fmean(r.mse for r in rows),
        }
        images = len({row.image for row in rows})
        result[key] = {**means, "images": images, "identical": len(rows) - len(finite)}
    return result
