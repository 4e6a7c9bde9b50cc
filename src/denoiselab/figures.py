"""The report's figures, the same bytes for the same numbers: plots as PNG, pictures as WebP."""

from pathlib import Path

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


def curves(histories: dict[str, pd.DataFrame], path: Path) -> None:
    """Validation PSNR and training loss by step, a line a trained model."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for n, (model, history) in enumerate(histories.items()):
        style = {"color": COLOURS[n % len(COLOURS)], "marker": "o", "markersize": 3, "label": model}
        left.plot(history.step, history.val_psnr, **style)
        right.plot(history.step, history.loss, **style)
    left.set(xlabel="step", ylabel="validation PSNR (dB)")
    right.set(xlabel="step", ylabel="training loss", yscale="log")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    left.legend(frameon=False)
    _save(figure, path)


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
