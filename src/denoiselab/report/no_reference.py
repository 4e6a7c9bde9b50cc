"""The report on images without clean references: the same files with no-reference scores."""

import math
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from denoiselab.comparison import aggregate, paired_tests
from denoiselab.comparison.verdicts import Trainings
from denoiselab.config import Params
from denoiselab.data import noisy_sets
from denoiselab.evaluation import example_outputs
from denoiselab.evaluation.output_checks import Alarm
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.report import alarm_lines, cost, facts, figure_set, latex
from denoiselab.report.figures import matrix
from denoiselab.report.figures import pictures as image_figures
from denoiselab.report.figures import scores as score_figures
from denoiselab.report.figures.pictures import Example, Panel
from denoiselab.report.rendering import UNITS, page, render
from denoiselab.report.title import Titles, titles
from denoiselab.runtime import files, git, paths
from denoiselab.runtime.sanitize import printable

SCORE = "held_out"
CORRELATED = 0.25  # alarm above this noise correlation of neighbouring pixels; texture alone stays below at sigma 10


def write(params: Params, rows: pd.DataFrame, packages: tuple[str, ...]) -> None:
    """As report.write, from the per-image rows of images without clean references."""
    table, pairs = aggregate.no_reference_table(rows, params), paired_tests.all_pairs(rows, params, SCORE)
    trainings = facts.trainings(params)
    files.write_text(paths.COMPARISON, table.to_csv(index=False, lineterminator="\n"))
    files.write_text(
        paths.PAIRS, paired_tests.table(pairs, params, trainings, SCORE).to_csv(index=False, lineterminator="\n")
    )
    files.write_json(paths.SUMMARY, aggregate.summary(table, [f"{SCORE}_mean"]))
    for folder in (paths.FIGURES, paths.PHOTOS):
        shutil.rmtree(folder, ignore_errors=True)
    costs, ((key, found),) = facts.cost(params), pairs.items()
    ranked = table.sort_values(f"{SCORE}_mean", ascending=False)
    result = _result(params, ranked, rows, found, trainings)
    if found:
        matrix.differences(found, 1 - params.evaluate.confidence, paths.FIGURES / "pairs.png", UNITS[SCORE][0])
    alarms = (
        alarm_lines.of_outputs(params)
        + alarm_lines.of_table(table, pairs, params.evaluate, SCORE)
        + _correlated(result)
    )
    condition = noisy_sets.read(paths.NOISY, key[1])
    names = titles([condition])
    context = {
        "params": params,
        "noisy": _noisy(params),
        "titles": names,
        "condition": condition,
        "result": result,
        "best": {SCORE: ranked[f"{SCORE}_mean"].max()},
        "matrix": "figures/pairs.png" if found else None,
        "figures": plots(params, table)
        | {
            "progress": figure_set.progress(params),
            "grids": list(_grids(params, rows, ranked)),
            "cases": [{"title": names.conditions[key[1]], "models": list(_cases(params, ranked))}],
        },
        "trainings": trainings,
        "data": facts.data(),
        "commit": git.commit(),
        "experiment": git.experiment(),
        "settings": facts.settings(params),
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in packages},
        "cost": costs,
        "fronts": cost.fronts(params, table, costs, names, SCORE),
        "tradeoffs": cost.figures(params, table, costs, names, SCORE),
        "alarms": alarm_lines.lines(alarms, names.places([key]) | {key[0]: names.set(key[0])}),
        "score": SCORE,
        "digits": UNITS[SCORE][0],
    }
    latex.write(params, table)
    files.write_text(paths.REPORT_MD, render("no_reference.md.j2", context | {"timed": False}))
    files.write_text(paths.REPORT_COST, render("cost.md.j2", context))
    files.write_text(paths.REPORT_HTML, page(render("no_reference.md.j2", context | {"timed": True})))


def plots(params: Params, table: pd.DataFrame) -> dict[str, Any]:
    """Draw the plots of scores and trainings; returns their paths relative to the report."""
    ranked = table.sort_values(f"{SCORE}_mean", ascending=False)
    score_figures.means(ranked.assign(title=ranked.set), paths.FIGURES / "held-out.svg", SCORE)
    return {"means": "figures/held-out.svg", "training": figure_set.training(params)}


def _noisy(params: Params) -> str:
    """The entry that returns its input."""
    return next((name for name, entry in params.models.items() if entry.arch == "identity"), "")


def _result(
    params: Params,
    ranked: pd.DataFrame,
    rows: pd.DataFrame,
    pairs: list[paired_tests.Difference],
    trainings: Trainings,
) -> dict[str, Any]:
    """The table, best first, the answer, and estimates of the noise."""
    scored = ranked[ranked[f"{SCORE}_mean"].notna()]
    restoring = [str(model) for model in scored.model if model != _noisy(params)]
    own = rows.drop_duplicates("image")
    sigma = float((own.sigma_255**2).mean() ** 0.5)
    floor = ranked[ranked.model == _noisy(params)][f"{SCORE}_mean"]
    return {
        "title": Titles.set(ranked.set.iloc[0]),
        "set": ranked.set.iloc[0],
        "rows": ranked.to_dict("records"),
        "number": int(ranked.n_images.iloc[0]),
        "images": facts.each_image(rows, [str(model) for model in ranked.model], SCORE),
        "pairs": pairs,
        "testable": any(one.testable(1 - params.evaluate.confidence) for one in pairs),
        "answer": facts.answer(params, restoring, rows, pairs, trainings, SCORE),
        "sigma_255": sigma,
        "ceiling": float(-20 * np.log10(own.sigma_255.clip(lower=0.01) / 255).mean()),
        "floor": float(floor.iloc[0]) if len(floor) else math.nan,
        "noise_correlation": float(own.noise_correlation.dropna().median()),
    }


def _correlated(result: dict[str, Any]) -> list[alarm_lines.ModelAlarm]:
    """An alarm if the noise seems correlated, which no-reference scores cannot handle."""
    found = result["noise_correlation"]
    if not found > CORRELATED:
        return []
    text = (
        f"in the flattest areas the noise of neighbouring pixels has a correlation of {found:.2f} (median) instead of "
        f"about 0; correlated noise is neither removed nor scored here (texture in the whole image looks the same)"
    )
    return [("", Alarm("correlated", result["set"], result["number"], result["number"], "", text))]


def _grids(params: Params, rows: pd.DataFrame, ranked: pd.DataFrame) -> Iterator[dict[str, str]]:
    """The samples, noisy and restored by every model, worst first."""
    scores = rows.drop_duplicates(["model", "image"]).set_index(["model", "image"])[SCORE]
    models = [str(model) for model in ranked.model if model != _noisy(params)]
    channels = params.data.channels
    (condition,) = noisy_sets.names(paths.NOISY)
    tests = noisy_sets.test(paths.RAW, paths.NOISY, condition, channels)
    for n, test in enumerate(islice(tests, params.evaluate.samples)):
        pixels = {m: dataset_images.read(paths.samples(m) / condition / f"{n:02d}.png", channels) for m in models}
        pixels = {m: own.reshape(test.clean.shape) for m, own in pixels.items()}
        panels = [Panel("noisy\n", image_quality.to_uint8(test.noisy))]
        panels += [Panel(f"{m}\n{scores[m, test.image]:.3f} dB held out", pixels[m]) for m in reversed(models)]
        path = paths.PHOTOS / f"pictures-{condition}-{n:02d}.webp"
        image_figures.grid(pixels[models[0]] if models else test.shown, panels, path)
        yield {"image": test.image, "path": f"photos/{path.name}"}


def _cases(params: Params, ranked: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Best, median and worst output of the best models, with residuals."""
    (name,) = noisy_sets.names(paths.NOISY)
    condition, channels = noisy_sets.read(paths.NOISY, name), params.data.channels
    for model in [str(m) for m in ranked.model if m != _noisy(params)][: figure_set.CASES]:
        found, examples = example_outputs.read(paths.samples(model), name), []
        chosen = {case.image for case in found}
        tests = {t.image: t for t in noisy_sets.test(paths.RAW, paths.NOISY, name, channels, chosen=chosen)}
        for case in found:
            gain = "not finite" if case.gain is None else f"{case.gain:+.3f} dB"
            restored = dataset_images.read(paths.samples(model) / name / f"{case.kind}.png", channels)
            noisy = tests[case.image].shown
            title = f"{case.kind}: {gain} ({printable(case.image)})"
            examples.append(Example(title, case.harmed, noisy, noisy, restored.reshape(noisy.shape)))
        path = paths.PHOTOS / f"cases-{name}-{model}.webp"
        image_figures.residuals(model, examples, condition.sigma_255, path)
        yield {"model": model, "path": f"photos/{path.name}"}
