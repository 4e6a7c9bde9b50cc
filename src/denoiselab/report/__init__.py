"""The report on evaluated models. The same scores give byte-identical report.md, figures and comparison.csv; measured
times are only in cost.md, tradeoffs/ and report.html."""

import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from denoiselab.comparison import aggregate, paired_tests, sample_size
from denoiselab.config import Params
from denoiselab.data import noisy_sets
from denoiselab.report import alarm_lines, facts, latex, planning
from denoiselab.report.rendering import UNITS, page, render
from denoiselab.report.title import title, titles
from denoiselab.runtime import files, git, paths

PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "opencv-python-headless", "pandas")


def write(params: Params) -> None:
    """Write the report from the outputs of evaluate: report.md, report.html, cost.md, comparison.csv and .tex,
    summary.json, pairs.csv, references.bib, figures, tradeoffs and photos."""
    rows = aggregate.read(params)

    from denoiselab.report import (
        cost,
        figure_set,
        no_reference,
        slider_images,  # they import Matplotlib: only once the input files are known to be valid
    )

    if not params.noise.has_clean:
        return no_reference.write(params, rows, PACKAGES)
    with ThreadPoolExecutor() as pool:  # the bootstrap releases the GIL
        found = pool.submit(paired_tests.all_pairs, rows, params)
        table, pairs = aggregate.table(rows, params), found.result()
    files.write_text(paths.COMPARISON, table.to_csv(index=False, lineterminator="\n"))
    trainings = facts.trainings(params)
    files.write_text(paths.PAIRS, paired_tests.table(pairs, params, trainings).to_csv(index=False, lineterminator="\n"))
    files.write_json(paths.SUMMARY, aggregate.summary(table, ["psnr_mean", "ssim_mean", "psnr_gain"]))
    for folder in (paths.FIGURES, paths.PHOTOS):
        shutil.rmtree(folder, ignore_errors=True)
    costs = facts.cost(params)
    conditions = [noisy_sets.read(paths.NOISY, name) for name in noisy_sets.names(paths.NOISY)]
    names = titles(conditions)
    figures, details = figure_set.draw(params, rows, table, pairs, names)
    results = [facts.result(params, *key, rows, table, pairs[key], trainings, names) for key in facts.keys(table)]
    context = {
        "title": title([one.spec for one in conditions], facts.set_sizes(table)),
        "titles": names,
        "params": params,
        "classifiers": figure_set.classifiers(params, names),
        "original": _original(params),
        "difference": partial(facts.difference, params, rows),
        "judged": partial(facts.judged, params, rows, trainings),
        "trainings": trainings,
        "results": results,
        "conditions": conditions,
        "planning": planning.by_table(params, rows, pairs),
        "differences": planning.DIFFERENCES,
        "power": sample_size.POWER,
        "data": facts.data(),
        "commit": git.commit(),
        "experiment": git.experiment(),
        "figures": figures,
        "settings": facts.settings(params),
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "cost": costs,
        "claimed": facts.claimed(table),
        "imported": facts.imported(params, costs),
        "score": "psnr",
        "digits": UNITS["psnr"][0],
        "self_supervised": facts.self_supervised(params),
        "fronts": cost.fronts(params, table, costs, names),
        "tradeoffs": cost.figures(params, table, costs, names),
        "alarms": alarm_lines.lines(
            alarm_lines.of_outputs(params) + alarm_lines.of_table(table, pairs, params.evaluate),
            names.places(facts.keys(table)),
        ),
    }
    latex.write(params, table, [one for result in results for one in result["published"]])
    files.write_text(paths.REPORT_MD, render("report.md.j2", context | {"timed": False, "slider": False}))
    files.write_text(paths.REPORT_COST, render("cost.md.j2", context))
    images = slider_images.encode(details)
    text = render("report.md.j2", context | {"timed": True, "slider": bool(images)})
    files.write_text(paths.REPORT_HTML, page(text, images))


def vector_figures(params: Params, suffix: str) -> list[Path]:
    """Write the report's plots as reports/vector/*`suffix`: .pdf or .svg; returns their paths."""
    rows = aggregate.read(params)

    from denoiselab.report import cost, figure_set, no_reference
    from denoiselab.report.figures import _style

    names = titles(noisy_sets.read(paths.NOISY, name) for name in noisy_sets.names(paths.NOISY))
    shutil.rmtree(paths.VECTOR_FIGURES, ignore_errors=True)
    with _style.vector(paths.VECTOR_FIGURES, suffix):
        if not params.noise.has_clean:
            table, score = aggregate.no_reference_table(rows, params), no_reference.SCORE
            no_reference.plots(params, table)
        else:
            table, score = aggregate.table(rows, params), "psnr"
            figure_set.plots(params, table, names)
            figure_set.classifiers(params, names)
        cost.figures(params, table, facts.cost(params), names, score)
    return sorted(paths.VECTOR_FIGURES.iterdir())


def _original(params: Params) -> str | None:
    """The template that compares a recipe with the original system, if there is one."""
    template = f"originals/{params.recipe}.md.j2"
    return template if (resources.files("denoiselab.report") / "templates" / template).is_file() else None
