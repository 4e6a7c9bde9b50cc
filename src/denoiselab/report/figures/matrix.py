"""Matrix figures: paired differences of all models, training noise against test noise."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from PIL import Image, ImageDraw

from denoiselab.comparison.paired_tests import Difference
from denoiselab.report.figures._style import font, plt, save

CELL = 0.55  # inches
WIDE, HIGH, PAD, LETTERS = 58, 34, 8, 12  # pixels


def differences(pairs: list[Difference], level: float, path: Path, digits: int = 2) -> None:
    """Score of the row's model minus that of the column's, best first; significant differences are bold and coloured.

    A model's name is left of its row and below its column. Drawn with PIL, because Matplotlib takes a second.
    """
    names = dict.fromkeys(name for one in pairs for name in (one.better, one.worse))
    models = sorted(names, key=lambda model: -sum(one.better == model for one in pairs))
    places = {model: n for n, model in enumerate(models)}
    left = max(round(font(LETTERS).getlength(m)) + 2 * PAD - (n + 1) * WIDE for m, n in places.items())
    image = Image.new("RGB", (left + len(models) * WIDE, len(models) * HIGH), "white")
    draw = ImageDraw.Draw(image)
    for model, n in places.items():
        place = (left + (n + 1) * WIDE - PAD, (n + 0.5) * HIGH)
        draw.text(place, model, fill="black", font=font(LETTERS), anchor="rm")
    better = [one.significant(level) for one in pairs]
    shades = np.array([min(one.interval.mean, 2) / 8 if bold else 0 for one, bold in zip(pairs, better, strict=True)])
    fills = mpl.colormaps["PuOr"](0.5 + shades)
    for one, bold, fill in zip(pairs, better, fills, strict=True):
        x, y = left + places[one.worse] * WIDE, places[one.better] * HIGH
        draw.rectangle((x, y, x + WIDE - 1, y + HIGH - 1), fill=to_hex(fill))
        middle, text = (x + WIDE / 2, y + HIGH / 2), f"{one.interval.mean:+.{digits}f}"
        draw.text(middle, text, fill="black" if bold else "#737373", font=font(LETTERS, bold), anchor="mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def mismatch(table: pd.DataFrame, path: Path) -> None:
    """PSNR of each network (row) under each test noise (column), and the difference from the best of the column.

    `table` holds the PSNR in dB, indexed by the model and its training noise, one column per condition.
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
    axes.set_xticks(range(len(table.columns)), table.columns, fontsize=8)
    axes.set_yticks(range(len(table)), table.index, fontsize=8)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="tested on", ylabel="trained on")
    save(figure, path)
