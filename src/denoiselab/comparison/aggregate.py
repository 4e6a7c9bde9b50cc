"""Aggregates per-image rows: one row per model, test set and condition."""

import numpy as np
import pandas as pd

from denoiselab.comparison import published_results
from denoiselab.comparison.bootstrap import Interval, mean_intervals
from denoiselab.config import Params
from denoiselab.data import noisy_sets
from denoiselab.evaluation.score_tables import FULL_REFERENCE, NO_REFERENCE
from denoiselab.models import metadata
from denoiselab.runtime import files, paths, stage_outputs
from denoiselab.runtime.errors import UserError

TEXTS = ("model", "condition", "protocol", "protocol_sha256", "sets", "image", "label", "group", "predicted")
SCORES = ("psnr", "ssim", "mse", "lpips")  # lpips only if it was measured


def read(params: Params) -> pd.DataFrame:
    """The per-image rows of all restoration models of params.models; an image of two test sets has two rows.

    UserError if the models were not evaluated on the same images, conditions and protocols.
    """
    rows = _rows(params, "restore", "per_image.csv")
    keys = ["condition", "protocol", "protocol_sha256", "image", "draw"]
    expected: set[tuple[object, ...]] | None = None
    for model, group in rows.groupby("model", sort=False):
        found = set(group[keys].itertuples(index=False, name=None))
        if expected is not None and found != expected:
            raise UserError(f"models.{model}: evaluated on other images, conditions or protocols; run `dvc repro`")
        expected = found
    return _by_set(rows)


def curves(params: Params) -> pd.DataFrame:
    """The rows of every curve.csv: model, sigma_255, image, psnr, ssim."""
    return _rows(params, "restore", "curve.csv")


def predictions(params: Params) -> pd.DataFrame:
    """The per-image rows of all classifiers, with a column `right` (1 or 0); an empty table without classifiers."""
    rows = _rows(params, "classify", "per_image.csv")
    return _by_set(rows).assign(right=lambda r: (r.predicted == r.label).astype(float)) if len(rows) else rows


def accuracies(rows: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Accuracy of all classifiers with bootstrap intervals over images: one row per model, test set and condition."""
    result, found = [], means(rows, ["right"], params)
    for key, group in rows.groupby(["model", "set", "condition"], sort=False):
        interval = found[(*key, "right")]
        entry = dict(zip(("model", "set", "condition"), key, strict=True))
        entry |= {"accuracy_mean": interval.mean, "accuracy_low": interval.low, "accuracy_high": interval.high}
        card = metadata.read(paths.model(str(key[0])))
        result.append(entry | {"n_images": group.image.nunique(), "parameters": card["parameters"]})
    return pd.DataFrame(result)


def of_task(params: Params, task: str) -> list[str]:
    """The models of params.models for a task: "restore" or "classify"."""
    return [m for m in params.models if metadata.read(paths.model(m))["task"] == task]


def histories(params: Params) -> dict[str, pd.DataFrame]:
    """reports/train/<model>.csv of the networks that are trained here."""
    found = {name: stage_outputs.read_table(stage_outputs.history(name)) for name in params.models}
    return {name: history for name, history in found.items() if "loss" in history}


def _rows(params: Params, task: str, file: str) -> pd.DataFrame:
    texts = dict.fromkeys(TEXTS, str)
    nan = {score: ["nan"] for score in (*FULL_REFERENCE, *NO_REFERENCE)}  # outputs that are not finite
    frames = []
    for model in of_task(params, task):
        path = stage_outputs.evaluated(model, file)
        options = {"dtype": texts, "keep_default_na": False, "na_values": nan}
        frames.append(stage_outputs.read_table(path, **options))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _by_set(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(set=rows.sets.str.split()).explode("set", ignore_index=True).drop(columns="sets")


def table(rows: pd.DataFrame, params: Params) -> pd.DataFrame:
    """reports/comparison.csv: means and bootstrap intervals over images, one row per model, test set and condition.

    `published`: published PSNR of the method named in the model's entry, for this test set, protocol and noise;
    `published_halfwidth`: uncertainty of `minus_published` by the noise of both, from the means of several draws.
    Scores of a model are NaN if one of its outputs is not finite: a mean over fewer images would not be comparable.
    """
    scores = [score for score in SCORES if score in rows]
    result, found = [], means(rows, scores, params)
    psnr = {key: by_image(here, "psnr") for key, here in rows.groupby(["set", "condition"], sort=False)}
    broken = {key: incomplete(here, "psnr") for key, here in rows.groupby(["set", "condition"], sort=False)}
    keys = ["model", "set", "condition", "protocol", "protocol_sha256"]
    for key, group in rows.groupby(keys, sort=False):
        model, set_name, condition, protocol, _ = map(str, key)
        entry: dict[str, object] = dict(zip(keys, key, strict=True))
        entry |= {"n_images": group.image.nunique(), "n_groups": group["group"].nunique()}
        entry["n_draws"] = group.draw.nunique()
        entry["n_identical"] = group[group.mse == 0].image.nunique()
        for score in scores:
            interval = found[model, set_name, condition, score]
            entry |= {f"{score}_mean": interval.mean, f"{score}_low": interval.low, f"{score}_high": interval.high}
        entry |= _seeds(group)
        own = psnr[set_name, condition]
        noisy = next((name for name in own if params.models[name].arch == "identity"), None)
        entry["psnr_gain"] = float((own[model] - own[noisy]).mean()) if noisy else float("nan")
        entry["parameters"] = files.read_json(stage_outputs.evaluated(model, "metrics.json"))["parameters"]
        entry |= _published(params, model, set_name, condition, protocol, group)
        if model in broken[set_name, condition]:
            entry |= dict.fromkeys((key for key in entry if key.startswith((*scores, "minus_"))), float("nan"))
        result.append(entry)
    return pd.DataFrame(result)


def no_reference_table(rows: pd.DataFrame, params: Params) -> pd.DataFrame:
    """reports/comparison.csv without clean images: means of NO_REFERENCE and bootstrap intervals over images."""
    result, found = [], means(rows, [*NO_REFERENCE], params)
    broken = {key: incomplete(here, "held_out") for key, here in rows.groupby(["set", "condition"], sort=False)}
    keys = ["model", "set", "condition", "protocol", "protocol_sha256"]
    for key, group in rows.groupby(keys, sort=False):
        model, set_name, condition, *_ = map(str, key)
        entry: dict[str, object] = dict(zip(keys, key, strict=True))
        entry |= {"n_images": group.image.nunique(), "n_groups": group["group"].nunique()}
        entry["n_seeds"] = group.seed.nunique()
        for score in NO_REFERENCE:
            interval = found[model, set_name, condition, score]
            entry |= {f"{score}_mean": interval.mean, f"{score}_low": interval.low, f"{score}_high": interval.high}
        if model in broken[set_name, condition]:
            entry |= dict.fromkeys((key for key in entry if key.startswith(NO_REFERENCE)), float("nan"))
        entry["parameters"] = files.read_json(stage_outputs.evaluated(model, "metrics.json"))["parameters"]
        result.append(entry)
    return pd.DataFrame(result)


def incomplete(here: pd.DataFrame, score: str) -> set[str]:
    """The models that lack a score (NaN) on an image on which another has it; `here`: one test set and condition."""
    missing = here[score].isna().groupby([here.image, here.model]).any().unstack("model", fill_value=False)
    return {str(model) for model in missing if missing.loc[~missing.all(axis=1), model].any()}


def summary(table: pd.DataFrame, scores: list[str]) -> dict[str, dict[str, object]]:
    """reports/summary.json: the best model by the first of `scores` and its scores, by test set and condition."""
    found = {}
    for (set_name, condition), here in table.groupby(["set", "condition"], sort=False):
        best = here.sort_values(scores[0], ascending=False).iloc[0]
        known = {name: float(best[name]) for name in scores if np.isfinite(best[name])}
        found[f"{set_name} {condition}"] = {"best": best.model} | known
    return found


def _seeds(rows: pd.DataFrame) -> dict[str, object]:
    """Number of training runs of a model, and the mean PSNR of the worst and the best of them."""
    means = rows.groupby("seed").psnr.mean()
    return {"n_seeds": rows.seed.nunique(), "psnr_seed_low": means.min(), "psnr_seed_high": means.max()}


def _published(
    params: Params, model: str, set_name: str, condition: str, protocol: str, rows: pd.DataFrame
) -> dict[str, object]:
    """Published PSNR of the first method in `published` that has one; "-S" methods only for a model of that level."""
    from scipy import stats  # slow to import

    draws = rows.groupby("draw").psnr.mean()
    spec = noisy_sets.read(paths.NOISY, condition).spec
    entry = params.models[model]
    specific = params.training_noise(model).model_dump(mode="json") == spec
    published = published_results.matching(set_name, params.data.channels, protocol, spec)
    known = {value.method: value for value in published}
    for method in entry.published:
        if (value := known.get(method)) and (specific or not method.endswith("-S")):
            found = {"published_method": method, "published": value.psnr}
            quantile = stats.t.ppf((1 + params.evaluate.confidence) / 2, len(draws) - 1)
            halfwidth = quantile * draws.std() * (1 + 1 / len(draws)) ** 0.5  # published: one more draw; NaN for one
            return found | {"minus_published": draws.mean() - value.psnr, "published_halfwidth": halfwidth}
    return dict.fromkeys(("published_method", "published", "minus_published", "published_halfwidth"))


def means(rows: pd.DataFrame, columns: list[str], params: Params) -> dict[tuple[str, str, str, str], Interval]:
    """Mean over images with interval, by model, test set, condition and column."""
    result = {}
    for (set_name, condition), here in rows.groupby(["set", "condition"], sort=False):
        table = by_image(here, columns)
        found = intervals(table.to_numpy().T, groups_of(here, table.index), params)
        for (column, model), interval in zip(table, found, strict=True):
            result[str(model), str(set_name), str(condition), column] = interval
    return result


def groups_of(rows: pd.DataFrame, images: pd.Index) -> np.ndarray:
    """The group of each image."""
    return rows.drop_duplicates("image").set_index("image")["group"].reindex(images).to_numpy()


def by_image(rows: pd.DataFrame, scores: str | list[str]) -> pd.DataFrame:
    """Scores of each image: means over noise draws and training seeds, ignoring NaN.

    One row per image, one column per model or, for a list of scores, per (score, model).
    """
    return rows.groupby(["image", "model"])[scores].mean().unstack("model")


def intervals(values: np.ndarray, groups: np.ndarray, params: Params) -> list[Interval]:
    """Bootstrap intervals of the rows of (k, images) values, ignoring NaN. `groups`: the group of each image."""
    settings, known = params.evaluate, np.isfinite(values)
    result: dict[int, Interval] = {}
    for mask in np.unique(known, axis=0):  # rows with the same images together
        chosen = np.flatnonzero((known == mask).all(axis=1))
        found = mean_intervals(
            values[chosen][:, mask],
            groups=groups[mask],
            confidence=settings.confidence,
            resamples=settings.resamples,
            seed=params.seed,
        )
        result |= dict(zip(chosen.tolist(), found, strict=True))
    return [result[n] for n in range(len(values))]
