"""Figures of scores by model, by noise level, by training step and by class."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from denoiselab.report.figures._style import COLOURS, LABELS, WIDTH, legend, literal, plain, plt, save

DIGITS = {"held_out": 3}  # other scores: 2


def lines(models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Line style of each model in all figures of a report: one colour each, then other dashes."""
    return {
        model: {
            "color": COLOURS[n % len(COLOURS)],
            "linestyle": ("-", "--", ":", "-.")[n // len(COLOURS) % 4],
            "marker": "o",
            "markersize": 3,
        }
        for n, model in enumerate(models)
    }


def means(table: pd.DataFrame, path: Path, score: str = "psnr") -> None:
    """A score of every model with its interval, one colour per title. `table`: rows of comparison.csv with `title`.

    All rows must have the same protocol; others are not comparable.
    """
    assert table.protocol_sha256.nunique() == 1
    models, mean = list(dict.fromkeys(table.model)), f"{score}_mean"
    titles = list(dict.fromkeys(table.title))
    high = 0.9 + 0.3 * len(models) * max(1, 0.6 * len(titles))
    figure, axes = plt.subplots(figsize=(WIDTH, high), layout="constrained")
    for n, title in enumerate(titles):
        rows = table[table.title == title].set_index("model").reindex(models)
        places = np.arange(len(models)) + (n - (len(titles) - 1) / 2) * 0.8 / len(titles)
        error = np.nan_to_num(np.array([rows[mean] - rows[f"{score}_low"], rows[f"{score}_high"] - rows[mean]]))
        look: dict[str, Any] = {
            "color": COLOURS[n % len(COLOURS)],
            "fmt": "o",
            "markersize": 5,
            "capsize": 3,
            "label": literal(title),
        }
        axes.errorbar(rows[mean], places, xerr=error, **look)
        for place, value in zip(places, rows[mean], strict=True):
            number = "" if np.isnan(value) else f"{value:.{DIGITS.get(score, 2)}f}"
            axes.text(1.01, place, number, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_yticks(np.arange(len(models)), models)
    axes.invert_yaxis()
    axes.set_xlabel(f"{LABELS[score]}, mean and interval over images")
    plain(axes)
    if len(titles) > 1:
        legend(axes)
    save(figure, path)


def training(histories: dict[str, pd.DataFrame], looks: dict[str, dict[str, Any]], folder: Path) -> list[Path]:
    """Validation score and training loss by step, a file each, one line per training run; classifiers apart.

    `looks`: line styles from `lines`. Returns the files training-*.
    """
    kinds = {
        "val_held_out": (f"validation, {LABELS['held_out']}", "training loss"),
        "val_psnr": (f"validation {LABELS['psnr']}", "training loss"),
        "val_accuracy": ("validation accuracy", "cross-entropy"),
    }
    found = []
    for score, labels in kinds.items():
        own = {model: history for model, history in histories.items() if score in history}
        for column, label in zip((score, "loss"), labels if own else (), strict=False):
            figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
            for model, history in own.items():
                for n, (_, run) in enumerate(history.groupby("seed")):
                    axes.plot(run.step, run[column], label=None if n else model, **looks[model])
            axes.set(xlabel="step", ylabel=label, yscale="log" if column == "loss" else "linear")
            plain(axes)
            legend(axes)
            found.append(folder / f"training-{score.removeprefix('val_')}{'-loss' * (column == 'loss')}.svg")
            save(figure, found[-1])
    return found


def levels(
    rows: pd.DataFrame, trained: dict[str, tuple[float, float]], looks: dict[str, dict[str, Any]], folder: Path
) -> list[Path]:
    """PSNR and SSIM by noise level, a file each, one line per model; returns the files levels-*.

    `trained`: lowest and highest training level of each network. If all networks have one training range, levels
    outside it are shaded (a single level is dotted); otherwise each line is thin outside its own range.
    """
    means = rows.groupby(["model", "sigma_255"], sort=False)[["psnr", "ssim"]].mean().reset_index()
    ranges, found = {*trained.values()}, []
    for score, label in {"psnr": "PSNR (dB)", "ssim": "SSIM"}.items():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
        for _, own in means[means.model == "noisy"].groupby("model"):
            axes.plot(own.sigma_255, own[score], color="0.6", label="noisy")
        for name, own in means[means.model != "noisy"].groupby("model", sort=False):
            model = str(name)
            if len(ranges) > 1 and model in trained:
                axes.plot(own.sigma_255, own[score], **looks[model] | {"linewidth": 0.7, "markersize": 1.5})
                own = own[own.sigma_255.between(*trained[model])]
                bold = looks[model] | {"linewidth": 2.2, "markersize": 6}
                axes.plot(own.sigma_255, own[score], label=model, **bold)
            else:
                axes.plot(own.sigma_255, own[score], label=model, **looks[model])
        low, high = rows.sigma_255.min(), rows.sigma_255.max()
        if len(ranges) == 1:
            _mark(axes, *next(iter(ranges)), low, high)
        axes.set(xlabel="noise level sigma (of 255)", ylabel=label, xlim=(low, high))
        plain(axes)
        legend(axes)
        found.append(folder / f"levels-{score}.svg")
        save(figure, found[-1])
    return found


def _mark(axes: plt.Axes, lowest: float, highest: float, low: float, high: float) -> None:
    """Shade the parts of low..high outside lowest..highest; a dotted line if these are equal."""
    if lowest == highest:
        axes.axvline(lowest, color="0.5", linestyle=":")
    for start, end in ((low, lowest), (highest, high)):
        if lowest < highest and end > start:
            axes.axvspan(start, end, color="0.5", alpha=0.12, linewidth=0)


def confusion(rows: pd.DataFrame, classes: list[str], path: Path) -> None:
    """Confusion matrix in percent: true class by row, predicted class by column."""
    counts = pd.crosstab(rows.label, rows.predicted).reindex(index=classes, columns=classes, fill_value=0)
    shares = counts.to_numpy() / counts.sum(axis=1).to_numpy()[:, None].clip(min=1)
    figure, axes = plt.subplots(figsize=(1.6 + 0.5 * len(classes),) * 2, layout="constrained")
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (y, x), share in np.ndenumerate(shares):
        axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color="w" if share < 0.6 else "k")
    names = [literal(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), names, fontsize=8)
    axes.set(xlabel="predicted class (%)", ylabel="true class")
    save(figure, path)
