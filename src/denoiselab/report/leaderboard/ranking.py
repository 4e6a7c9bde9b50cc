"""Groups of comparable results of many experiments, each ranked, with the paired difference of the first two."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from denoiselab.comparison.aggregate import by_image, groups_of
from denoiselab.comparison.bootstrap import mean_interval, wilcoxon
from denoiselab.comparison.paired_tests import Difference, seed_spread
from denoiselab.comparison.verdicts import Training
from denoiselab.report.leaderboard.settings import Settings, differing, effective
from denoiselab.report.leaderboard.sources import Experiment

KEYS = ("set", "condition", "protocol", "protocol_sha256")
PAIRED = {"image": "images", "draw": "draws of the noise"}  # what paired results must share, as the seed of the noise
SCORES = ("psnr", "ssim", "mse")
NUMBERS = [f"{score}_{part}" for score in SCORES for part in ("mean", "low", "high")]
COLUMNS = [*NUMBERS, "psnr_gain", "parameters", "n_images", "n_draws", "n_identical"]


@dataclass(frozen=True)
class Where:
    """What results must share to be comparable."""

    data: str
    data_md5: str
    set: str
    condition: str
    spec: str  # the condition's noise, as JSON
    protocol: str
    protocol_sha256: str


@dataclass
class Row:
    """A model's result, and the experiments that have it."""

    model: str
    experiments: list[str]
    scores: dict[str, Any]  # COLUMNS
    settings: Settings
    images: pd.DataFrame  # its per-image rows in this group
    training: Training | None  # None: not trained
    differing: Settings = field(default_factory=dict)

    @property
    def named(self) -> str:
        """Model and experiment."""
        others = f" and {len(self.experiments) - 1} more" if len(self.experiments) > 1 else ""
        return f"{self.model} ({self.experiments[0]}{others})"


@dataclass(frozen=True)
class Lead:
    """Difference of the first two of a group: of the means, and paired by image if possible."""

    by: float  # dB, of the means
    refused: str | None  # why there is no paired difference
    paired: Difference | None = None
    doubts: list[str] = field(default_factory=list)  # why the first is not significantly better


@dataclass
class Group:
    where: Where
    rows: list[Row]  # best PSNR first

    @cached_property
    def lead(self) -> Lead | None:
        """None for a single row."""
        return lead(self.rows[0], self.rows[1]) if len(self.rows) > 1 else None

    @property
    def best(self) -> dict[str, float]:
        """The best mean of every score."""
        of = {score: [row.scores[f"{score}_mean"] for row in self.rows] for score in SCORES}
        return {"psnr": max(of["psnr"]), "ssim": max(of["ssim"]), "mse": min(of["mse"])}


def groups(experiments: Iterable[Experiment]) -> list[Group]:
    """Group all results; equal results of equal parameters become one row."""
    found: dict[Where, list[Row]] = {}
    for experiment in experiments:
        for record in experiment.table.to_dict("records"):
            where = _where(experiment, record)
            row = _row(experiment, record)
            rows = found.setdefault(where, [])
            twin = next((other for other in rows if _same(other, row)), None)
            if twin:
                twin.experiments.append(experiment.name)
            else:
                rows.append(row)
    for rows in found.values():
        rows.sort(key=lambda row: -np.nan_to_num(row.scores["psnr_mean"], nan=-np.inf))
        for row, shown in zip(rows, differing([(row.model, row.settings) for row in rows]), strict=True):
            row.differing = shown
    return [Group(where, found[where]) for where in sorted(found, key=lambda w: (w.data, w.set, w.condition, repr(w)))]


def _where(experiment: Experiment, record: dict[Any, Any]) -> Where:
    spec, data = experiment.specs[record["condition"]], experiment.params["data"]["name"]
    return Where(data=data, data_md5=experiment.data_md5, spec=spec, **{key: record[key] for key in KEYS})


def _row(experiment: Experiment, record: dict[Any, Any]) -> Row:
    rows, model = experiment.images, record["model"]
    here = rows[(rows.model == model) & (rows.condition == record["condition"])]
    here = here[[record["set"] in sets.split() for sets in here.sets]]
    scores = {key: record[key] for key in COLUMNS}
    settings, training = effective(experiment.params, model), experiment.trainings.get(model)
    return Row(model, [experiment.name], scores, settings, here, training)


def _same(one: Row, other: Row) -> bool:
    """Whether two rows are one result that experiments share by DVC's cache."""
    equal = all(one.scores[k] == other.scores[k] or pd.isna([one.scores[k], other.scores[k]]).all() for k in COLUMNS)
    return equal and one.model == other.model and one.settings == other.settings


def lead(first: Row, second: Row) -> Lead:
    """PSNR of the first minus that of the second; paired if both were tested on the same noisy images."""
    by = first.scores["psnr_mean"] - second.scores["psnr_mean"]
    alike = _share(first.images, second.images, [*PAIRED])
    differ = [words for key, words in PAIRED.items() if not _share(first.images, second.images, [key])]
    differ = [] if alike else differ or [*PAIRED.values()]
    differ += ["seeds"] if first.settings["seed"] != second.settings["seed"] else []
    if differ:
        return Lead(by, f"their {' and '.join(differ)} differ")
    one, other = (by_image(row.images, "psnr")[row.model] for row in (first, second))
    paired = (one - other).dropna()
    drawn = {key: first.settings[f"evaluate.{key}"] for key in ("confidence", "resamples")}
    values, groups = paired.to_numpy(), groups_of(first.images, paired.index)
    interval = mean_interval(values, groups=groups, seed=first.settings["seed"], **drawn)
    p = wilcoxon(values, groups) if len(values) else float("nan")
    spread = seed_spread(*(row.images.groupby("seed").psnr.mean() for row in (first, second)))
    wins, means = int((values > 0).sum()), pd.Series(values).groupby(groups).mean()
    ties = int((means == 0).sum())
    found = Difference(first.named, second.named, interval, wins, len(values), len(means), p, 1, spread, ties=ties)
    trainings = {row.named: row.training for row in (first, second) if row.training}
    return Lead(by, None, found, found.doubts(1 - drawn["confidence"], trainings))


def _share(one: pd.DataFrame, other: pd.DataFrame, keys: list[str]) -> bool:
    """Whether two sets of per-image rows have the same values of `keys`."""
    found, expected = (set(rows[keys].itertuples(index=False, name=None)) for rows in (one, other))
    return found == expected
