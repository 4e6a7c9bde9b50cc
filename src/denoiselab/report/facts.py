"""Data of the report's text and tables: results, data set, settings, cost."""

from collections import Counter
from typing import Any

import pandas as pd

from denoiselab.comparison import aggregate, paired_tests, published_results, verdicts
from denoiselab.comparison.paired_tests import Difference
from denoiselab.comparison.verdicts import Training, Trainings
from denoiselab.config import Params
from denoiselab.data import manifest, noisy_sets
from denoiselab.models import metadata
from denoiselab.noise.describe import in_words
from denoiselab.report.title import Titles
from denoiselab.runtime import files, paths, stage_outputs


def keys(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(set, condition) of every table of the report."""
    return list(dict.fromkeys(zip(table.set, table.condition, strict=True)))


def set_sizes(table: pd.DataFrame) -> dict[str, int]:
    """Number of images by test set."""
    return {str(name): int(own.n_images.iloc[0]) for name, own in table.groupby("set", sort=False)}


def result(
    params: Params,
    set_name: str,
    condition: str,
    rows: pd.DataFrame,
    table: pd.DataFrame,
    pairs: list[Difference],
    trainings: Trainings,
    titles: Titles,
) -> dict[str, Any]:
    """One test set under one condition (so one protocol): rows, best first, scores of every image, answer and published
    results."""
    stored = noisy_sets.read(paths.NOISY, condition)
    here = rows[(rows.set == set_name) & (rows.condition == condition)]
    own = table[(table.set == set_name) & (table.condition == condition)]
    ranked = own.sort_values("psnr_mean", ascending=False).to_dict("records")
    models = [str(row["model"]) for row in ranked if row["psnr_mean"] == row["psnr_mean"]]  # not NaN
    best = {score: max(row[f"{score}_mean"] for row in ranked) for score in ("psnr", "ssim")}
    best |= {s: min(row[f"{s}_mean"] for row in ranked) for s in ("mse", "lpips") if f"{s}_mean" in own}
    return {
        "title": titles.of(set_name, condition),
        "set": set_name,
        "condition": stored,
        "rows": ranked,
        "images": each_image(here, [str(row["model"]) for row in ranked]),
        "pairs": pairs,
        "testable": any(one.testable(1 - params.evaluate.confidence) for one in pairs),
        "best": best,
        "groups": ranked[0]["n_groups"],
        "seeded": n_seeds if (n_seeds := max(row["n_seeds"] for row in ranked)) > 1 else 0,
        "answer": answer(params, models, here, pairs, trainings),
        "published": published_results.matching(set_name, params.data.channels, stored.protocol.name, stored.spec),
    }


def each_image(here: pd.DataFrame, models: list[str], score: str = "psnr") -> list[dict[str, Any]]:
    """`image` and `scores` of every model, means over draws and seeds, for each image of one test set and condition."""
    table = aggregate.by_image(here, score)[models]
    return [{"image": image, "scores": list(row)} for image, row in zip(table.index, table.to_numpy(), strict=True)]


def answer(
    params: Params,
    ranked: list[str],
    here: pd.DataFrame,
    pairs: list[Difference],
    trainings: Trainings,
    score: str = "psnr",
) -> dict[str, Any] | None:
    """The paired differences behind the headline; None if only one model was run.

    `first`: best model minus the one that it is least clearly better than, else minus the second best; `doubts`: why
    it is not significantly better; `harm`: whether the noisy input is better than every model; `classical`: best
    network against best classical method, unless that is `first`.
    """
    if len(ranked) < 2:
        return None
    alpha = 1 - params.evaluate.confidence
    models = [m for m in ranked if params.models[m].arch != "identity"]
    found = {frozenset((one.better, one.worse)): one for one in pairs}
    if len(models) < 2:  # one model and the noisy input
        first = paired_tests.difference(here, ranked[0], ranked[1], params, score)
        return {"first": first, "doubts": first.doubts(alpha, trainings), "harm": False, "classical": None}
    leading = [found[frozenset((models[0], m))] for m in models[1:]]
    kinds = [one.verdict(alpha, trainings) if one.better == models[0] else "level" for one in leading]
    weakest = next((kind for kind in ("level", "few", "undecided") if kind in kinds), "better")
    first = leading[kinds.index(weakest)]
    level = [m for m, kind in zip(models[1:], kinds, strict=True) if kind == "level"]
    doubts = first.doubts(alpha, trainings)
    if level:
        text = f"the difference from {', '.join(level)} is not significant"
        doubts = [text, *first.training_doubts(trainings)]
    classical = [m for m in models if params.models[m].arch in metadata.CLASSICAL]
    learned = [m for m in models if params.models[m].arch not in metadata.CLASSICAL]
    between = found[frozenset((classical[0], learned[0]))] if classical and learned else None
    return {
        "first": first,
        "doubts": doubts,
        "harm": models[0] != ranked[0],
        "classical": between if between is not first else None,
    }


def trainings(params: Params) -> dict[str, Training]:
    """How far the training of every restoration network got."""
    restoring = aggregate.of_task(params, "restore")
    return {name: verdicts.training(own) for name, own in aggregate.histories(params).items() if name in restoring}


def data() -> dict[str, Any]:
    """Images by split, their number by class and split, hash, sources, leaks and misfits of the data set."""
    rows = manifest.read(paths.RAW)
    splits = {split: [row.image for row in rows if row.split == split] for split in ("train", "val", "test")}
    labels = sorted({row.label for row in rows} - {""})
    counts = Counter((row.label, row.split) for row in rows)
    return (
        {"misfits": []}
        | manifest.dataset(paths.RAW)
        | {
            "splits": splits,
            "classes": {label: {split: counts[label, split] for split in splits} for label in labels},
            "sha256": files.sha256(paths.RAW / "manifest.csv"),
        }
    )


def settings(params: Params) -> list[tuple[str, str]]:
    """(model, how it was trained) of every model, one line each."""
    lines = []
    for name, entry in params.models.items():
        own = {k: v for k, v in entry.architecture().items() if k not in ("arch", "channels", "strengths")}
        card = metadata.read(paths.model(name))
        text = ", ".join([entry.arch, *(f"{k} {v}" for k, v in own.items())])
        if card["imported"]:
            text += f"; not trained here: weights `{card['imported']['sha256'][:16]}`"
        elif card["parameters"]:
            train = params.training(name)
            kept = next(iter(card["best"].values()))["step"]
            losses = " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in train.loss.items())
            text += f"; {train.optimizer}, lr {train.lr:g} ({train.schedule.kind}), batch {train.batch}, "
            text += (
                f"{'cross-entropy' if card['task'] == 'classify' else losses}, {card['steps']} steps, best at {kept}"
            )
            text += "; self-supervised" if train.target == "self" and card["task"] == "restore" else ""
            text += f"; initialised from {entry.init_from}" if entry.init_from else ""
            text += f"; guided by {entry.needs}" if card["adopted"] else ""
        elif entry.arch == "classical":
            text += "; " + _strengths(stage_outputs.read_table(stage_outputs.history(name)))
        text += f"; trained on {in_words(entry.noise.model_dump(), params.data.depth)}" if entry.noise else ""
        lines.append((name, text))
    return lines


def self_supervised(params: Params) -> list[str]:
    """The models trained (or calibrated) and selected without clean images."""
    return [name for name in aggregate.of_task(params, "restore") if params.training(name).target == "self"]


def _strengths(trials: pd.DataFrame) -> str:
    """The calibrated strength at each noise level."""
    score = next(column for column in trials if column.startswith("val_"))  # the selection criterion
    best = trials.loc[trials.dropna().groupby("sigma_255")[score].idxmax()]
    return ", ".join(f"strength {row.strength:g} at sigma {row.sigma_255:g}" for row in best.itertuples())


def cost(params: Params) -> list[dict[str, Any]]:
    rows = []
    for name in params.models:
        train, infer = stage_outputs.training_cost(name), stage_outputs.inference_cost(name)
        card = metadata.read(paths.model(name))
        rows.append({"model": name, "parameters": card["parameters"], "train": train, "infer": infer})
    return rows


def claimed(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the comparison that have a published value, and a measured one."""
    return table[table.published.notna() & table.psnr_mean.notna()].to_dict("records")


def imported(params: Params, costs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `cost` of imported weights, with their entries."""
    found = ((row, params.models[row["model"]]) for row in costs)
    return [row | {"entry": entry} for row, entry in found if entry.weights]


def difference(
    params: Params, rows: pd.DataFrame, better: str, worse: str, score: str = "psnr", condition: str | None = None
) -> Difference | None:
    """Paired difference of two models on the first test set, for the templates; None if one of them was not run."""
    here = rows[(rows.set == rows.set.iloc[0]) & (rows.condition == (condition or rows.condition.iloc[0]))]
    if not {better, worse} <= {*here.model}:
        return None
    return paired_tests.difference(here, better, worse, params, score)


def judged(
    params: Params,
    rows: pd.DataFrame,
    trainings: Trainings,
    better: str,
    worse: str,
    score: str = "psnr",
    condition: str | None = None,
    margin: float | None = None,
) -> dict[str, Any] | None:
    """Judges the claim that `better` is better or, with `margin`, that the two differ by less than that many dB.

    `held`: whether it held; `doubts`: why this cannot be judged. p is not corrected: the claims were made in advance.
    None if a model was not run.
    """
    found = difference(params, rows, better, worse, score, condition)
    if found is None:
        return None
    if margin is not None:
        held, doubts = found.equality(margin, 1 - params.evaluate.confidence, trainings)
        return {"held": held, "doubts": doubts}
    held = not found.interval.mean < 0
    against = found if held else difference(params, rows, worse, better, score, condition)
    assert against is not None
    return {"held": held, "doubts": against.doubts(1 - params.evaluate.confidence, trainings)}
