"""The report: what compare makes of evaluate's files. report.md, figures and comparison.csv are the same bytes for
the same numbers; measured times are in cost.md and report.html alone."""

import base64
import platform
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from denoiselab import comparison, conditions, figures, files, images, metrics, paths
from denoiselab.config import Params
from denoiselab.data import manifest

PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "opencv-python-headless", "pandas")


def write(params: Params) -> None:
    """Write comparison.csv, the figures, report.md, cost.md and report.html from what evaluate left."""
    rows = comparison.read(params)
    table = comparison.table(rows, params)
    files.write_text(paths.COMPARISON, table.to_csv(index=False, lineterminator="\n"))
    shutil.rmtree(paths.FIGURES, ignore_errors=True)
    context = {
        "params": params,
        "conditions": [_condition(params, name, rows, table) for name in conditions.names(paths.NOISY)],
        "data": _data(),
        "figures": _figures(params, rows, table),
        "settings": _settings(params),
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "cost": _cost(params),
    }
    files.write_text(paths.REPORT_MD, _render("report.md.j2", context | {"timed": False}))
    files.write_text(paths.REPORT_COST, _render("cost.md.j2", context))
    files.write_text(paths.REPORT_HTML, _page(_render("report.md.j2", context | {"timed": True})))


def _condition(params: Params, name: str, rows: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """One condition: its rows, best first, and what the paired differences say."""
    index = files.read_json(paths.NOISY / name / "index.json")
    ranked = table[table.condition == name].sort_values("psnr_mean", ascending=False).to_dict("records")
    models = [str(row["model"]) for row in ranked]
    best = {score: max(row[f"{score}_mean"] for row in ranked) for score in ("psnr", "ssim")}
    best["mse"] = min(row["mse_mean"] for row in ranked)
    differences = []
    if len(models) > 1:
        differences.append(comparison.difference(rows, name, models[0], models[1], params))
    classical = [m for m in models if params.models[m].arch == "classical"]
    learned = [m for m in models if params.models[m].arch not in ("classical", "identity")]
    if classical and learned and (learned[0], classical[0]) != tuple(models[:2]):
        differences.append(comparison.difference(rows, name, learned[0], classical[0], params))
    return {
        "name": name,
        "protocol": index["protocol"],
        "spec": index["spec"],
        "rows": ranked,
        "best": best,
        "differences": differences,
    }


def _data() -> dict[str, Any]:
    """Images by split, and the hash of them all."""
    rows = manifest.read(paths.RAW)
    splits = {split: [row.image for row in rows if row.split == split] for split in ("train", "val", "test")}
    return {"splits": splits, "sha256": files.sha256(paths.RAW / "manifest.csv")}


def _settings(params: Params) -> list[tuple[str, str]]:
    """How each model was trained, in a line each."""
    lines = []
    for name, entry in params.models.items():
        own = {k: v for k, v in entry.architecture().items() if k not in ("arch", "channels", "strengths")}
        card = files.read_json(paths.model(name) / "model.json")
        text = ", ".join([entry.arch, *(f"{k} {v}" for k, v in own.items())])
        if card["parameters"]:
            train = params.training(name)
            kept = card["best"]["psnr"]["step"]
            text += f"; {train.optimizer}, lr {train.lr:g}, batch {train.batch}, {card['steps']} steps, best at {kept}"
        elif entry.arch == "classical":
            text += "; " + _strengths(pd.read_csv(paths.history(name)))
        lines.append((name, text))
    return lines


def _strengths(trials: pd.DataFrame) -> str:
    """The strength that calibration chose at each noise level."""
    best = trials.loc[trials.dropna().groupby("sigma_255").val_psnr.idxmax()]
    return ", ".join(f"strength {row.strength:g} at sigma {row.sigma_255:g}" for row in best.itertuples())


def _cost(params: Params) -> list[dict[str, Any]]:
    rows = []
    for name in params.models:
        train, infer = files.read_json(paths.training_cost(name)), files.read_json(paths.inference_cost(name))
        card = files.read_json(paths.model(name) / "model.json")
        rows.append({"model": name, "parameters": card["parameters"], "train": train, "infer": infer})
    return rows


def _figures(params: Params, rows: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """Draw every figure; the paths are relative to the report."""
    figures.bars(table.sort_values("psnr_mean", ascending=False), paths.FIGURES / "psnr.png")
    histories = {name: pd.read_csv(paths.history(name)) for name in params.models}
    trained = {name: history for name, history in histories.items() if "loss" in history}
    if trained:
        figures.curves(trained, paths.FIGURES / "training.png")
    grids = []
    for condition in conditions.names(paths.NOISY):
        ranked = table[table.condition == condition].sort_values("psnr_mean").model
        scores = rows[rows.condition == condition].set_index(["model", "image"]).psnr
        tests = conditions.test(paths.RAW, paths.NOISY, condition, params.data.channels)
        for n, test in zip(range(params.evaluate.samples), tests, strict=False):
            panels = [("clean", test.clean), (f"noisy input\n{_psnr(test):.2f} dB", metrics.to_uint8(test.noisy))]
            for model in (m for m in ranked if params.models[m].arch != "identity"):
                restored = images.read(paths.samples(model) / condition / f"{n:02d}.png", params.data.channels)
                panels.append((f"{model}\n{scores[model, test.image]:.2f} dB", restored.reshape(test.clean.shape)))
            path = paths.FIGURES / f"pictures-{condition}-{n:02d}.webp"
            figures.grid(test.clean, panels, path)
            grids.append({"condition": condition, "image": test.image, "path": _relative(path)})
    curves = _relative(paths.FIGURES / "training.png") if trained else None
    return {"bars": _relative(paths.FIGURES / "psnr.png"), "curves": curves, "grids": grids}


def _psnr(test: conditions.TestImage) -> float:
    return metrics.psnr(test.clean, metrics.to_uint8(test.noisy), data_range=255)


def _relative(path: Path) -> str:
    return path.relative_to(paths.REPORT_MD.parent).as_posix()


def _render(template: str, context: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("denoiselab"),
        autoescape=jinja2.select_autoescape(["html", "html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["spec"] = _spec
    return environment.get_template(template).render(context)


def _page(text: str) -> str:
    """The report as one HTML file that needs no network: figures become data URIs."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r'src="([^"]+)"', lambda match: f'src="{_data_uri(match[1])}"', body)
    title = text.partition("\n")[0].removeprefix("# ")
    return _render("page.html.j2", {"title": title, "body": Markup(body)})


def _data_uri(path: str) -> str:
    return (
        f"data:image/{path.rpartition('.')[2]};base64,"
        + base64.b64encode((paths.REPORT_MD.parent / path).read_bytes()).decode()
    )


def _cell(row: dict[str, Any], score: str) -> str:
    """A mean with its interval, in the units of the tables: dB, SSIM, MSE times 1000."""
    digits, scale = {"psnr": (2, 1), "ssim": (4, 1), "mse": (3, 1000)}[score]
    mean, low, high = (f"{scale * row[f'{score}_{part}']:.{digits}f}" for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _spec(spec: dict[str, Any]) -> str:
    """A noise spec in words."""
    sigma = spec["sigma_255"]
    level = f"{sigma[0]:g} to {sigma[1]:g}" if isinstance(sigma, list | tuple) else f"{sigma:g}"
    return f"{spec['kind']}, sigma {level} of 255, {'clipped' if spec['clip'] else 'not clipped'}"
