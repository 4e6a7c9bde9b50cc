"""The report: what compare makes of evaluate's files. report.md, figures and comparison.csv are the same bytes for
the same numbers; measured times are in cost.md, cost.png and report.html alone."""

import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from importlib.metadata import version

from denoiselab.comparison import aggregate, paired_tests
from denoiselab.config import Params
from denoiselab.data import noisy_sets
from denoiselab.report import alarm_lines, facts
from denoiselab.report.rendering import page, render
from denoiselab.runtime import files, git, paths

PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "opencv-python-headless", "pandas")


def write(params: Params) -> None:
    """Write comparison.csv, pairs.csv, the figures, report.md, cost.md and report.html from what evaluate left."""
    rows = aggregate.read(params)

    from denoiselab.report import (
        cost,
        figure_set,
        no_reference,
        slider_images,  # Matplotlib, too: not before the files fit
    )

    if not params.noise.has_clean:
        return no_reference.write(params, rows, PACKAGES)
    with ThreadPoolExecutor() as pool:  # the bootstrap lets go of the interpreter
        found = pool.submit(paired_tests.every, rows, params)
        table, pairs = aggregate.table(rows, params), found.result()
    files.write_text(paths.COMPARISON, table.to_csv(index=False, lineterminator="\n"))
    files.write_text(paths.PAIRS, paired_tests.table(pairs, params).to_csv(index=False, lineterminator="\n"))
    shutil.rmtree(paths.FIGURES, ignore_errors=True)
    costs = facts.cost(params)
    figures, details = figure_set.draw(params, rows, table, pairs)
    context = {
        "params": params,
        "classifiers": figure_set.classifiers(params),
        "original": _original(params),
        "difference": partial(facts.difference, params, rows),
        "results": [facts.result(params, *key, rows, table, pairs[key]) for key in facts.keys(table)],
        "conditions": [noisy_sets.read(paths.NOISY, name) for name in noisy_sets.names(paths.NOISY)],
        "data": facts.data(),
        "commit": git.commit(),
        "figures": figures,
        "settings": facts.settings(params),
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "cost": costs,
        "score": "psnr",
        "self_supervised": facts.self_supervised(params),
        "fronts": cost.fronts(params, table, costs),
        "alarms": alarm_lines.lines(
            alarm_lines.of_outputs(params) + alarm_lines.of_table(table, pairs, params.evaluate)
        ),
    }
    files.write_text(paths.REPORT_MD, render("report.md.j2", context | {"timed": False, "slider": False}))
    files.write_text(paths.REPORT_COST, render("cost.md.j2", context))
    pictures = slider_images.pictures(details)
    text = render("report.md.j2", context | {"timed": True, "slider": bool(pictures)})
    files.write_text(paths.REPORT_HTML, page(text, pictures))


def _original(params: Params) -> str | None:
    """The template of a recipe's original system: what it reached, what differs, which of its claims held."""
    template = f"originals/{params.recipe}.md.j2"
    return template if (resources.files("denoiselab.report") / "templates" / template).is_file() else None
