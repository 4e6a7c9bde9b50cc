"""The report: what compare makes of evaluate's files. report.md, figures and comparison.csv are the same bytes for
the same numbers; measured times are in cost.md and report.html alone."""

import base64
import platform
import re
import shutil
from functools import partial
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from denoiselab import comparison, conditions, figures, files, images, literature, metrics, paths
from denoiselab.config import Params
from denoiselab.config.noise import Gaussian
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
        "restores": comparison.of_task(params, "restore"),
        "classifiers": _classifiers(params),
        "original": _original(params),
        "difference": partial(_difference, params, rows),
        "results": [_result(params, *key, rows, table) for key in _keys(table)],
        "conditions": [conditions.read(paths.NOISY, name) for name in conditions.names(paths.NOISY)],
        "data": _data(),
        "figures": _figures(params, rows, table),
        "settings": _settings(params),
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "cost": _cost(params),
    }
    files.write_text(paths.REPORT_MD, _render("report.md.j2", context | {"timed": False}))
    files.write_text(paths.REPORT_COST, _render("cost.md.j2", context))
    files.write_text(paths.REPORT_HTML, _page(_render("report.md.j2", context | {"timed": True})))


def _keys(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(set, condition) of every table of the report."""
    return list(dict.fromkeys(zip(table.set, table.condition, strict=True)))


def _result(params: Params, set_name: str, condition: str, rows: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """One test set under one condition, so one protocol: its rows, best first, what the paired differences say, and
    what was published."""
    stored = conditions.read(paths.NOISY, condition)
    here = rows[(rows.set == set_name) & (rows.condition == condition)]
    own = table[(table.set == set_name) & (table.condition == condition)]
    ranked = own.sort_values("psnr_mean", ascending=False).to_dict("records")
    models = [str(row["model"]) for row in ranked]
    best = {score: max(row[f"{score}_mean"] for row in ranked) for score in ("psnr", "ssim")}
    best["mse"] = min(row["mse_mean"] for row in ranked)
    pairs = [(models[0], models[1])] if len(models) > 1 else []
    classical = [m for m in models if params.models[m].arch == "classical"]
    learned = [m for m in models if params.models[m].arch not in ("classical", "identity")]
    if classical and learned:
        pair = sorted((learned[0], classical[0]), key=models.index)
        pairs += [(pair[0], pair[1])] if (pair[0], pair[1]) not in pairs else []
    return {
        "set": set_name,
        "condition": stored,
        "rows": ranked,
        "best": best,
        "differences": [comparison.difference(here, *pair, params) for pair in pairs],
        "compared": bool(own.published.notna().any()),
        "published": literature.matching(set_name, stored.protocol.name, stored.spec),
    }


def _data() -> dict[str, Any]:
    """Images by split, the hash of them all, where they come from, and leaks."""
    rows = manifest.read(paths.RAW)
    splits = {split: [row.image for row in rows if row.split == split] for split in ("train", "val", "test")}
    labels = {row.label for row in rows} - {""}
    return manifest.dataset(paths.RAW) | {
        "splits": splits,
        "classes": len(labels),
        "sha256": files.sha256(paths.RAW / "manifest.csv"),
    }


def _settings(params: Params) -> list[tuple[str, str]]:
    """How each model was trained, in a line each."""
    lines = []
    for name, entry in params.models.items():
        own = {k: v for k, v in entry.architecture().items() if k not in ("arch", "channels", "strengths")}
        card = files.read_json(paths.model(name) / "model.json")
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
            text += f"; weights at first those of {entry.init_from}" if entry.init_from else ""
            text += f"; guided by {entry.needs}" if card["adopted"] else ""
            text += f"; trained on {_spec(entry.noise.model_dump())}" if entry.noise else ""
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
    bars = []
    for (protocol, sha256), rows_of_it in table.groupby(["protocol", "protocol_sha256"], sort=False):
        path = paths.FIGURES / f"psnr-{protocol}-{sha256}.png"
        figures.bars(rows_of_it.sort_values("psnr_mean", ascending=False), path)
        bars.append({"protocol": protocol, "path": _relative(path)})
    histories = {name: pd.read_csv(paths.history(name)) for name in params.models}
    trained = {name: history for name, history in histories.items() if "loss" in history}
    if trained:
        figures.training(trained, paths.FIGURES / "training.png")
    levels = comparison.curves(params)
    spec = params.noise.train
    if len(levels):
        assert isinstance(spec, Gaussian)
        known = spec.sigma_255 if isinstance(spec.sigma_255, tuple) else (spec.sigma_255, spec.sigma_255)
        figures.levels(levels, known, paths.FIGURES / "levels.png")
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
            figures.grid(test.clean, panels, path)
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
    figures.progress(images.read(paths.progress(name) / "patches.png", 3), titles, path)
    return {"model": name, "path": _relative(path)}


def _classifiers(params: Params) -> list[dict[str, Any]]:
    """Accuracy and confusion matrix of every classifier, set and condition."""
    rows = comparison.predictions(params)
    if rows.empty:
        return []
    results = comparison.accuracies(rows, params).to_dict("records")
    for result in results:
        here = rows[[*("model", "set", "condition")]].eq([result[k] for k in ("model", "set", "condition")]).all(axis=1)
        path = paths.FIGURES / f"confusion-{result['model']}-{result['set']}-{result['condition']}.png"
        classes = files.read_json(paths.model(result["model"]) / "model.json")["classes"]
        figures.confusion(rows[here], classes, path)
        result["path"] = _relative(path)
    return results


def _difference(
    params: Params, rows: pd.DataFrame, better: str, worse: str, score: str = "psnr", condition: str | None = None
) -> comparison.Difference | None:
    """Paired difference of two models on the first set, for the templates; None where one of them was not run."""
    here = rows[(rows.set == rows.set.iloc[0]) & (rows.condition == (condition or rows.condition.iloc[0]))]
    if not {better, worse} <= {*here.model}:
        return None
    return comparison.difference(here, better, worse, params, score)


def _original(params: Params) -> str | None:
    """The template of a recipe's original system: what it reached, what differs, which of its claims held."""
    template = f"originals/{params.recipe}.md.j2"
    return template if (resources.files("denoiselab") / "templates" / template).is_file() else None


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
    body = body.replace("<blockquote>\n<p>🔴", '<blockquote class="alarm">\n<p>🔴')
    title = text.partition("\n")[0].removeprefix("# ")
    return _render("page.html.j2", {"title": title, "body": Markup(body)})


def _data_uri(path: str) -> str:
    return (
        f"data:image/{path.rpartition('.')[2]};base64,"
        + base64.b64encode((paths.REPORT_MD.parent / path).read_bytes()).decode()
    )


def _cell(row: dict[str, Any], score: str) -> str:
    """A mean with its interval (one image has none), in the units of the tables: dB, SSIM, MSE times 1000."""
    digits, scale = {"psnr": (2, 1), "ssim": (4, 1), "mse": (3, 1000)}[score]
    mean, low, high = (f"{scale * row[f'{score}_{part}']:.{digits}f}" for part in ("mean", "low", "high"))
    return mean if low == "nan" else f"{mean} [{low}, {high}]"


def _spec(spec: dict[str, Any]) -> str:
    """A noise spec in words."""
    own = {k: v for k, v in spec.items() if k not in ("kind", "clip", "quantise")}
    if spec["kind"] == "chain":
        return " then ".join(_spec(step) for step in own["steps"])
    if spec["kind"] == "sometimes":
        return f"with probability {own['p']:g} {_spec(own['noise'])}"
    values = [f"{k.replace('_255', ' of 255').replace('_', ' ')} {_value(v)}" for k, v in own.items()]
    ending = {(False, False): "not clipped", (True, False): "clipped", (True, True): "clipped, 8 bits"}
    values.append(ending.get((spec["clip"], spec["quantise"]), "8-bit steps"))
    return f"{spec['kind'].replace('_', '-')} ({', '.join(values)})"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{value[0]:g} to {value[1]:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
