"""Draws every figure of the report; paths are relative to the report."""

from pathlib import Path
from typing import Any

import pandas as pd

from denoiselab import comparison, conditions, files, images, metrics, paths
from denoiselab.config import Params
from denoiselab.config.noise import Gaussian
from denoiselab.figures import pictures as picture_figures
from denoiselab.figures import scores as score_figures


def draw(params: Params, rows: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """Draw every figure; the paths are relative to the report."""
    bars = []
    for (protocol, sha256), rows_of_it in table.groupby(["protocol", "protocol_sha256"], sort=False):
        path = paths.FIGURES / f"psnr-{protocol}-{sha256}.png"
        score_figures.bars(rows_of_it.sort_values("psnr_mean", ascending=False), path)
        bars.append({"protocol": protocol, "path": _relative(path)})
    histories = {name: pd.read_csv(paths.history(name)) for name in params.models}
    trained = {name: history for name, history in histories.items() if "loss" in history}
    if trained:
        score_figures.training(trained, paths.FIGURES / "training.png")
    levels = comparison.curves(params)
    spec = params.noise.train
    if len(levels):
        assert isinstance(spec, Gaussian)
        known = spec.sigma_255 if isinstance(spec.sigma_255, tuple) else (spec.sigma_255, spec.sigma_255)
        score_figures.levels(levels, known, paths.FIGURES / "levels.png")
    grids = []
    for condition in conditions.names(paths.NOISY):
        here = rows[(rows.condition == condition) & (rows.draw == 0)].drop_duplicates(["model", "image"])
        ranked = here.groupby("model").psnr.mean().sort_values().index
        scores = here.set_index(["model", "image"]).psnr
        every = conditions.test(paths.RAW, paths.NOISY, condition, params.data.channels)
        tests = (test for test in every if test.draw == 0)
        for n, test in zip(range(params.evaluate.samples), tests, strict=False):
            noisy = metrics.psnr(test.clean / 255.0, test.noisy, data_range=1)
            panels = [("clean", test.clean), (f"noisy input\n{noisy:.2f} dB", metrics.to_uint8(test.noisy))]
            for model in (m for m in ranked if params.models[m].arch != "identity"):
                restored = images.read(paths.samples(model) / condition / f"{n:02d}.png", params.data.channels)
                panels.append((f"{model}\n{scores[model, test.image]:.2f} dB", restored.reshape(test.clean.shape)))
            path = paths.FIGURES / f"pictures-{condition}-{n:02d}.webp"
            picture_figures.grid(test.clean, panels, path)
            grids.append({"condition": condition, "image": test.image, "path": _relative(path)})
    return {
        "bars": bars,
        "training": _relative(paths.FIGURES / "training.png") if trained else None,
        "progress": [_progress(name) for name in trained if (paths.progress(name) / "patches.png").exists()],
        "levels": _relative(paths.FIGURES / "levels.png") if len(levels) else None,
        "grids": grids,
    }


def _progress(name: str) -> dict[str, str]:
    """What a trained model made of some validation patches as training went on."""
    steps = files.read_json(paths.progress(name) / "steps.json")
    titles = ["noisy", *(f"{moment}: step {step}" for moment, step in steps.items()), "clean"]
    path = paths.FIGURES / f"progress-{name}.webp"
    picture_figures.progress(images.read(paths.progress(name) / "patches.png", 3), titles, path)
    return {"model": name, "path": _relative(path)}


def classifiers(params: Params) -> list[dict[str, Any]]:
    """Accuracy and confusion matrix of every classifier, set and condition."""
    rows = comparison.predictions(params)
    if rows.empty:
        return []
    results = comparison.accuracies(rows, params).to_dict("records")
    for result in results:
        here = rows[[*("model", "set", "condition")]].eq([result[k] for k in ("model", "set", "condition")]).all(axis=1)
        path = paths.FIGURES / f"confusion-{result['model']}-{result['set']}-{result['condition']}.png"
        classes = files.read_json(paths.model(result["model"]) / "model.json")["classes"]
        score_figures.confusion(rows[here], classes, path)
        result["path"] = _relative(path)
    return results


def _relative(path: Path) -> str:
    return path.relative_to(paths.REPORT_MD.parent).as_posix()
