"""Draws all figures of the report."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from denoiselab.comparison import aggregate
from denoiselab.comparison.paired_tests import Difference, Pairs
from denoiselab.config import Params
from denoiselab.config.noise import Gaussian
from denoiselab.data import noisy_sets
from denoiselab.evaluation import example_outputs
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.models import metadata
from denoiselab.noise.describe import in_short
from denoiselab.report import samples, slider_images
from denoiselab.report.figures import matrix
from denoiselab.report.figures import pictures as image_figures
from denoiselab.report.figures import scores as score_figures
from denoiselab.report.figures.pictures import Example, Panel
from denoiselab.report.rendering import address
from denoiselab.report.title import Titles
from denoiselab.runtime import files, paths
from denoiselab.runtime.sanitize import printable

CASES = 10  # figures of best, median and worst outputs, all conditions together


def draw(
    params: Params, rows: pd.DataFrame, table: pd.DataFrame, pairs: Pairs, titles: Titles
) -> tuple[dict[str, Any], list[slider_images.Detail]]:
    """Draw all figures; returns their paths relative to the report, and the details for the slider."""
    with ThreadPoolExecutor() as pool:  # in parallel with Matplotlib, which needs the main thread
        images = pool.submit(_samples, params, rows, titles)
        cases = pool.submit(lambda: [_cases(params, table, name, titles) for name in noisy_sets.names(paths.NOISY)])
        drawn = plots(params, table, titles) | {"matrices": _matrices(params, pairs), "progress": progress(params)}
        grids, details = images.result()
        return drawn | {"grids": grids, "cases": cases.result()}, details


def _samples(
    params: Params, rows: pd.DataFrame, titles: Titles
) -> tuple[list[dict[str, str]], list[slider_images.Detail]]:
    grids, details = [], []
    for one in samples.read(params, rows):
        title = printable(f"{one.test.image}, {titles.conditions[one.condition]}")
        grids.append(_grid(one) | {"title": title})
        details += [slider_images.detail(one, title)] if one.outputs else []
    return grids, details


def plots(params: Params, table: pd.DataFrame, titles: Titles) -> dict[str, Any]:
    """Draw the plots of scores and trainings; returns their paths relative to the report."""
    means = []
    table = table.assign(title=[titles.of(*key) for key in zip(table.set, table.condition, strict=True)])
    for (protocol, sha256), rows_of_it in table.groupby(["protocol", "protocol_sha256"], sort=False):
        path = paths.FIGURES / f"psnr-{protocol}-{sha256}.svg"
        score_figures.means(rows_of_it.sort_values("psnr_mean", ascending=False), path)
        means.append({"protocol": protocol, "path": address(path)})
    trained = aggregate.histories(params)
    looks = score_figures.lines([*trained, *(name for name in params.models if name not in {*trained, "noisy"})])
    levels, drawn = aggregate.curves(params), []
    if len(levels):
        drawn = score_figures.levels(levels, _trained_levels(params, levels), looks, paths.FIGURES)
    return {
        "means": means,
        "mismatches": _mismatches(params, table, titles),
        "levels": [address(path) for path in drawn],
        "training": training(params),
    }


def training(params: Params) -> list[str]:
    """Draw the training histories, if there are any."""
    trained = aggregate.histories(params)
    return [address(path) for path in score_figures.training(trained, score_figures.lines(trained), paths.FIGURES)]


def progress(params: Params) -> list[dict[str, str]]:
    """Draw each network's validation patches."""
    trained = aggregate.histories(params)
    return [_progress(params, name) for name in trained if (paths.progress(name) / "patches.png").exists()]


def _matrices(params: Params, pairs: Pairs) -> dict[tuple[str, str], str]:
    """The paired differences of every test set and condition."""
    return {key: _matrix(params, *key, here) for key, here in pairs.items() if here}


def _grid(one: samples.Sample) -> dict[str, str]:
    """A sample: clean, noisy, and restored by every model, worst first."""
    shown = [one.noisy, *reversed(one.outputs)]
    panels = [Panel(f"{output.model}\n{samples.decibels(output.psnr)}", output.pixels) for output in shown]
    path = paths.PHOTOS / f"pictures-{one.condition}-{one.number:02d}.webp"
    image_figures.grid(one.test.shown, [Panel("clean", one.test.shown), *panels], path)
    return {"path": address(path)}


def _cases(params: Params, table: pd.DataFrame, name: str, titles: Titles) -> dict[str, Any]:
    """Best, median and worst output of the best models under a condition, at most CASES figures in all."""
    restoring = table[[params.models[m].arch != "identity" for m in table.model]]
    condition, found = noisy_sets.read(paths.NOISY, name), []
    psnr = restoring[restoring.condition == name].groupby("model").psnr_mean.mean()
    number = max(1, CASES // len(noisy_sets.names(paths.NOISY)))
    for model in map(str, psnr.sort_values(ascending=False).index[:number]):
        path = paths.PHOTOS / f"cases-{name}-{model}.webp"
        image_figures.errors(model, _examples(params, model, name), condition.sigma_255, path)
        found.append({"model": model, "path": address(path)})
    return {"title": titles.conditions[name], "models": found}


def _examples(params: Params, model: str, condition: str) -> list[Example]:
    found = example_outputs.read(paths.samples(model), condition)
    chosen, channels = {case.image for case in found}, params.data.channels
    tests = {t.image: t for t in noisy_sets.test(paths.RAW, paths.NOISY, condition, channels, draw=0, chosen=chosen)}
    examples = []
    for case in found:
        test = tests[case.image]
        gain = "not finite" if case.gain is None else f"{case.gain:+.2f} dB"
        harm = ", WORSE THAN THE INPUT" if case.harmed else ""
        restored = dataset_images.read(paths.samples(model) / condition / f"{case.kind}.png", channels)
        title = f"{case.kind}: {gain}{harm} ({printable(case.image)})"
        noisy = image_quality.to_uint8(test.noisy)
        examples.append(Example(title, case.harmed, test.shown, noisy, restored.reshape(test.clean.shape)))
    return examples


def _trained_here(params: Params, name: str) -> bool:
    """Whether a model is a network trained in this experiment, not imported."""
    entry = params.models[name]
    return entry.arch not in ("identity", *metadata.CLASSICAL) and not entry.weights


def _trained_levels(params: Params, levels: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Lowest and highest sigma (of 255) of the Gaussian noise that each network was trained on."""
    found = {}
    for name in dict.fromkeys(levels.model):
        spec = params.training_noise(name)
        if _trained_here(params, name) and isinstance(spec, Gaussian):
            sigma = spec.sigma_255
            found[name] = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    return found


def _matrix(params: Params, set_name: str, condition: str, pairs: list[Difference]) -> str:
    path = paths.FIGURES / f"pairs-{set_name}-{condition}.png"
    matrix.differences(pairs, 1 - params.evaluate.confidence, path)
    return address(path)


def _mismatches(params: Params, table: pd.DataFrame, titles: Titles) -> list[dict[str, str]]:
    """Training noise against test noise, by test set, if there are several test noises."""
    networks = [m for m in dict.fromkeys(table.model) if _trained_here(params, m)]
    found = []
    for set_name, own in table[table.model.isin(networks)].groupby("set", sort=False):
        psnr = own.pivot(index="model", columns="condition", values="psnr_mean")
        psnr = psnr.reindex(index=networks, columns=list(dict.fromkeys(own.condition)))
        if psnr.shape[1] > 1:
            psnr.columns = pd.Index([titles.conditions[name] for name in psnr.columns])
            psnr.index = pd.Index([f"{m}: {in_short(params.training_noise(m))}" for m in networks])
            path = paths.FIGURES / f"mismatch-{set_name}.png"
            matrix.mismatch(psnr, path)
            found.append({"set": titles.set(str(set_name)), "path": address(path)})
    return found


def _progress(params: Params, name: str) -> dict[str, str]:
    """Validation patches restored by a network during training."""
    steps = files.read_json(paths.progress(name) / "steps.json")
    titles = ["noisy", *(f"{moment}: step {step}" for moment, step in steps.items())]
    titles += ["clean"] if params.noise.has_clean else []
    path = paths.PHOTOS / f"progress-{name}.webp"
    image_figures.progress(dataset_images.read(paths.progress(name) / "patches.png", 3), titles, path)
    return {"model": name, "path": address(path)}


def classifiers(params: Params, titles: Titles) -> list[dict[str, Any]]:
    """Accuracy and confusion matrix of every classifier, test set and condition."""
    rows = aggregate.predictions(params)
    if rows.empty:
        return []
    results = aggregate.accuracies(rows, params).to_dict("records")
    for result in results:
        here = rows[[*("model", "set", "condition")]].eq([result[k] for k in ("model", "set", "condition")]).all(axis=1)
        path = paths.FIGURES / f"confusion-{result['model']}-{result['set']}-{result['condition']}.png"
        classes = metadata.read(paths.model(result["model"]))["classes"]
        score_figures.confusion(rows[here], classes, path)
        result |= {"path": address(path), "title": titles.of(result["set"], result["condition"])}
    return results
