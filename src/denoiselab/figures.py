"""The report's figures, the same bytes for the same numbers: plots as PNG, pictures as WebP."""

from pathlib import Path
from typing import Any

import cv2
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Okabe and Ito: told apart by colour-blind readers, too.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
ZOOM = 96  # pixels, side of the enlarged crop
PANELS = 5  # a row of the picture grid


def bars(table: pd.DataFrame, path: Path) -> None:
    """PSNR of every model with its interval, a group of bars a model, a colour a test set and condition.

    Rows of one protocol alone: others do not compare.
    """
    assert table.protocol_sha256.nunique() == 1
    table = table.assign(condition=table.set + ", " + table.condition)
    models = list(dict.fromkeys(table.model))
    conditions = list(dict.fromkeys(table.condition))
    figure, axes = plt.subplots(
        figsize=(8, 0.8 + 0.38 * len(models) * max(1, 0.6 * len(conditions))), layout="constrained"
    )
    height = 0.8 / len(conditions)
    for n, condition in enumerate(conditions):
        rows = table[table.condition == condition].set_index("model").reindex(models)
        places = np.arange(len(models)) + (n - (len(conditions) - 1) / 2) * height
        error = np.nan_to_num(np.array([rows.psnr_mean - rows.psnr_low, rows.psnr_high - rows.psnr_mean]))
        axes.barh(
            places, rows.psnr_mean, height, xerr=error, color=COLOURS[n % len(COLOURS)], label=condition, capsize=3
        )
        for place, value in zip(places, rows.psnr_mean, strict=True):
            axes.text(
                0.02, place, f"{value:.2f}", transform=axes.get_yaxis_transform(), va="center", ha="left", color="white"
            )
    axes.set_yticks(np.arange(len(models)), models)
    axes.invert_yaxis()
    axes.set_xlim(left=max(0, np.floor(table.psnr_mean.min() - 3)))
    axes.set_xlabel("PSNR (dB), mean and bootstrap interval over test images")
    axes.spines[["top", "right"]].set_visible(False)
    if len(conditions) > 1:
        axes.legend(frameon=False)
    _save(figure, path)


def training(histories: dict[str, pd.DataFrame], path: Path) -> None:
    """Validation score and training loss by step, a line a trained model; classifiers below, if there are any."""
    kinds = (("val_psnr", "validation PSNR (dB)", "training loss"), ("val_accuracy", "accuracy", "cross-entropy"))
    shown = [kind for kind in kinds if any(kind[0] in history for history in histories.values())]
    figure, panels = plt.subplots(
        len(shown), 2, figsize=(11, 3.6 * len(shown)), layout="constrained", squeeze=False, sharex="row"
    )
    for row, (score, label, loss) in zip(panels, shown, strict=True):
        own = {model: history for model, history in histories.items() if score in history}
        for n, (model, history) in enumerate(own.items()):
            row[0].plot(history.step, history[score], **_line(n))
            row[1].plot(history.step, history.loss, label=model, **_line(n))
        row[0].set(xlabel="step", ylabel=label)
        row[1].set(xlabel="step", ylabel=loss, yscale="log")
        _plain(row[0])
        _plain(row[1])
        row[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def levels(rows: pd.DataFrame, trained: tuple[float, float], path: Path) -> None:
    """PSNR and SSIM by noise level, a line a model; levels outside a training range are shaded, a single one marked."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    means = rows.groupby(["model", "sigma_255"], sort=False)[["psnr", "ssim"]].mean().reset_index()
    for axes, score, label in zip(panels, ("psnr", "ssim"), ("PSNR (dB)", "SSIM"), strict=True):
        for n, (model, own) in enumerate(means.groupby("model", sort=False)):
            axes.plot(own.sigma_255, own[score], label=model, **_line(n))
        low, high = rows.sigma_255.min(), rows.sigma_255.max()
        if trained[0] == trained[1]:
            axes.axvline(trained[0], color="0.5", linestyle=":")
        for start, end in ((low, trained[0]), (trained[1], high)):
            if trained[0] < trained[1] and end > start:
                axes.axvspan(start, end, color="0.5", alpha=0.12, linewidth=0)
        axes.set(xlabel="noise level sigma (of 255)", ylabel=label, xlim=(low, high))
        _plain(axes)
    panels[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def confusion(rows: pd.DataFrame, classes: list[str], path: Path) -> None:
    """Share of each class (a row) that a classifier put into each class (a column)."""
    counts = pd.crosstab(rows.label, rows.predicted).reindex(index=classes, columns=classes, fill_value=0)
    shares = counts.to_numpy() / counts.sum(axis=1).to_numpy()[:, None].clip(min=1)
    figure, axes = plt.subplots(figsize=(1.6 + 0.5 * len(classes),) * 2, layout="constrained")
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (y, x), share in np.ndenumerate(shares):
        axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color="w" if share < 0.6 else "k")
    axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set(xlabel="put into (%)", ylabel="class")
    _save(figure, path)


def progress(patches: np.ndarray, titles: list[str], path: Path) -> None:
    """Rows of validation patches (H, W, C) uint8 in equal columns, a title above each column."""
    width = patches.shape[1] // len(titles)
    figure, panels = plt.subplots(1, len(titles), figsize=(1.6 * len(titles), 1.6 * patches.shape[0] / width + 0.3))
    for n, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        _picture(axes, patches[:, n * width : (n + 1) * width], title)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.25 / figure.get_size_inches()[1], wspace=0.02)
    _save(figure, path)


def search_history(trials: list[tuple[int, float | None]], path: Path) -> None:
    """Score of every trial of a search (None: pruned), and the best so far."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    complete = [(n, value) for n, value in trials if value is not None]
    numbers, values = [n for n, _ in complete], [value for _, value in complete]
    axes.scatter(numbers, values, color=COLOURS[0], s=18, label="trial")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=COLOURS[1], label="best so far")
    pruned = [n for n, value in trials if value is None]
    axes.scatter(pruned, [min(values)] * len(pruned), color="0.5", marker="x", s=18, label="pruned")
    axes.set(xlabel="trial", ylabel="validation score")
    _plain(axes)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def importance(shares: dict[str, float], path: Path) -> None:
    """Share of the scores' variance that each parameter of a search explains."""
    figure, axes = plt.subplots(figsize=(7, 0.8 + 0.35 * len(shares)), layout="constrained")
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], color=COLOURS[0])
    axes.set(xlabel="share of the variance (fANOVA)", xlim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _line(n: int) -> dict[str, Any]:
    """The n-th line's look: another colour, and another dash once they are used up."""
    dash = ("-", "--", ":", "-.")[n // len(COLOURS) % 4]
    return {"color": COLOURS[n % len(COLOURS)], "linestyle": dash, "marker": "o", "markersize": 3}


def _plain(axes: plt.Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def grid(clean: np.ndarray, panels: list[tuple[str, np.ndarray]], path: Path) -> None:
    """The clean picture with a box, and the box enlarged in every panel.

    `clean` and the panels' pictures are (H, W, C) uint8; a panel's title stands above it.
    """
    y, x = _busiest(clean, ZOOM)
    size = (min(ZOOM, clean.shape[0]), min(ZOOM, clean.shape[1]))
    rows = -(-len(panels) // PANELS)
    figure = plt.figure(figsize=(2.3 * PANELS + 2.5 * rows, 2.5 * rows), layout="constrained")
    whole, right = figure.subfigures(
        1, 2, width_ratios=[2.5 * rows * clean.shape[1] / max(clean.shape[:2]), 2.3 * PANELS]
    )
    axes = whole.subplots()
    _picture(axes, clean, "")
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), size[1], size[0], fill=False, edgecolor="#E69F00", linewidth=2))
    for spot, (title, pixels) in zip(
        right.subplots(rows, PANELS, squeeze=False).flat, panels + [("", None)] * PANELS, strict=False
    ):
        if pixels is None:
            spot.set_axis_off()
        else:
            _picture(spot, pixels[y : y + size[0], x : x + size[1]], title)
    _save(figure, path)


def _picture(axes: plt.Axes, pixels: np.ndarray, title: str) -> None:
    axes.imshow(
        pixels if pixels.shape[-1] == 3 else pixels[:, :, 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def _busiest(image: np.ndarray, size: int) -> tuple[int, int]:
    """Corner (y, x) of the window with the most detail."""
    gray = image.mean(axis=2).astype(np.float32)
    detail = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    window = (min(size, image.shape[1]), min(size, image.shape[0]))
    sums = cv2.boxFilter(detail, -1, window, anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    valid = sums[: image.shape[0] - window[1] + 1, : image.shape[1] - window[0] + 1]
    y, x = np.unravel_index(int(np.argmax(valid)), valid.shape)
    return int(y), int(x)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".webp":
        figure.savefig(path, dpi=100, pil_kwargs={"quality": 90})
    else:
        figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
