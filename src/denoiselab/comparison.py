"""What the per-image rows say: a row a model and condition, and paired differences between models."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from denoiselab import files, paths, scores
from denoiselab.config import Evaluate, Params
from denoiselab.statistics import Interval, mean_interval

SCORES = ("psnr", "ssim", "mse")


@dataclass(frozen=True)
class Difference:
    """PSNR of `better` minus that of `worse`, image by image."""

    better: str
    worse: str
    interval: Interval
    wins: int  # images on which `better` is better
    images: int

    @property
    def settled(self) -> bool:
        """Whether the interval lies above 0."""
        return self.interval.low > 0


def read(params: Params) -> pd.DataFrame:
    """The per-image rows of every model of params.models, and of nothing else.

    ValueError where models were not evaluated on the same images, conditions and protocols.
    """
    frames = [pd.DataFrame(scores.read(paths.evaluation(model) / "per_image.csv")) for model in params.models]
    rows = pd.concat(frames, ignore_index=True)
    keys = ["condition", "protocol", "image", "draw"]
    expected: set[tuple[object, ...]] | None = None
    for model, group in rows.groupby("model", sort=False):
        found = set(group[keys].itertuples(index=False, name=None))
        if expected is not None and found != expected:
            raise ValueError(f"models.{model}: evaluated on other images or conditions than the rest; run `dvc repro`")
        expected = found
    return rows


def table(rows: pd.DataFrame, params: Params) -> pd.DataFrame:
    """reports/comparison.csv: means and bootstrap intervals over images, a row a model and condition."""
    result = []
    for (model, condition, protocol), group in rows.groupby(["model", "condition", "protocol"], sort=False):
        entry: dict[str, object] = {
            "model": model,
            "condition": condition,
            "protocol": protocol,
            "n_images": group.image.nunique(),
        }
        for score in SCORES:
            interval = _interval(by_image(group, score).to_numpy(), params.evaluate, params.seed)
            entry |= {f"{score}_mean": interval.mean, f"{score}_low": interval.low, f"{score}_high": interval.high}
        noisy = rows[(rows.model == "noisy") & (rows.condition == condition)]
        gain = by_image(group, "psnr") - by_image(noisy, "psnr") if len(noisy) else pd.Series([np.nan])
        entry["psnr_gain"] = float(gain.mean())
        entry["parameters"] = files.read_json(paths.evaluation(str(model)) / "metrics.json")["parameters"]
        result.append(entry)
    return pd.DataFrame(result)


def difference(rows: pd.DataFrame, condition: str, better: str, worse: str, params: Params) -> Difference:
    """Paired difference in PSNR of two models under one condition."""
    here = rows[rows.condition == condition]
    paired = by_image(here[here.model == better], "psnr") - by_image(here[here.model == worse], "psnr")
    interval = _interval(paired.to_numpy(), params.evaluate, params.seed)
    return Difference(better, worse, interval, int((paired > 0).sum()), len(paired))


def by_image(rows: pd.DataFrame, score: str) -> pd.Series:
    """A model's score for each image, the mean over its noise draws."""
    return rows.groupby("image", sort=True)[score].mean()


def _interval(values: np.ndarray, settings: Evaluate, seed: int) -> Interval:
    return mean_interval(values, confidence=settings.confidence, resamples=settings.resamples, seed=seed)
