"""Figures of numbers in rows and columns: every two models' difference, training noise against test noise."""

from pathlib import Path

import numpy as np
import pandas as pd

from denoiselab.differences import Difference
from denoiselab.figures._style import plt, save

CELL = 0.55  # inches


def differences(pairs: list[Difference], level: float, path: Path) -> None:
    """PSNR of the row's model minus that of the column's, best first; bold and coloured where they are told apart."""
    names = dict.fromkeys(name for one in pairs for name in (one.better, one.worse))
    models = sorted(names, key=lambda model: -sum(one.better == model for one in pairs))
    told = np.full((len(models),) * 2, np.nan)
    figure, axes = plt.subplots(figsize=(2 + CELL * len(models), 1.2 + CELL * len(models)), layout="constrained")
    for one in pairs:
        row, column = models.index(one.better), models.index(one.worse)
        better = one.verdict(level) == "better"
        told[row, column] = min(one.interval.mean, 2) if better else 0
        weight, colour = ("bold", "black") if better else ("normal", "0.45")
        text = f"{one.interval.mean:+.2f}"
        label = axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour, weight=weight)
        label.set_in_layout(False)
    axes.imshow(told, cmap="PuOr", vmin=-4, vmax=4)
    _name(axes, models, models)
    save(figure, path)


def mismatch(table: pd.DataFrame, path: Path) -> None:
    """PSNR behind the best of each column (dB), rows the models with what they were trained on, columns the test noise.

    `table` holds PSNR, indexed by row, a column a condition.
    """
    values = table.to_numpy()
    behind = values - np.nanmax(values, axis=0)
    figure, axes = plt.subplots(
        figsize=(3.5 + 1.6 * CELL * values.shape[1], 1.2 + CELL * len(table)), layout="constrained"
    )
    axes.imshow(behind, cmap="cividis", vmin=-6, vmax=0, aspect="auto")
    for (row, column), value in np.ndenumerate(behind):
        text = f"{values[row, column]:.2f}\n{value:+.2f}" if value < 0 else f"{values[row, column]:.2f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8, color="black" if value > -3 else "white",
            weight="bold" if value == 0 else "normal",
        )  # fmt: skip
    _name(axes, list(table.index), list(table.columns))
    axes.set(xlabel="tested on", ylabel="trained on")
    save(figure, path)


def _name(axes: plt.Axes, rows: list[str], columns: list[str]) -> None:
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.spines[:].set_visible(False)
