"""Figure of what quality costs."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from denoiselab import pareto
from denoiselab.figures._style import COLOURS, plain, plt, save

QUANTITIES = {"ms": "ms per megapixel", "macs": "MAC per pixel", "parameters": "parameters"}
PLACES = [
    (x, y) for y in (5, -5, 17, -17, 29, -29, 41, -41) for x in (5, -5)
]  # points from the dot to a label, tried in order


def tradeoffs(rows: pd.DataFrame, path: Path) -> None:
    """PSNR against each of QUANTITIES (NaN or 0 where a model has none), a row of panels a test set and condition, the
    Pareto front as a step line. `rows`: set, condition, model, psnr (dB) and the quantities."""
    shown = [name for name in QUANTITIES if (rows[name] > 0).any()]
    groups = list(rows.groupby(["set", "condition"], sort=False))
    size = (4.6 * len(shown), 3.8 * len(groups))
    figure, panels = plt.subplots(len(groups), len(shown), figsize=size, layout="constrained", squeeze=False)
    labels = []
    for line, ((set_name, condition), own) in zip(panels, groups, strict=True):
        for axes, name in zip(line, shown, strict=True):
            labels.append((axes, _panel(axes, own[(own[name] > 0) & own.psnr.notna()], name)))
            axes.set(xlabel=QUANTITIES[name], ylabel="PSNR (dB)", title=f"{set_name}, {condition}")
    figure.draw_without_rendering()  # only now are places in pixels known
    for axes, texts in labels:
        _spread(axes, texts)
    save(figure, path)


def _panel(axes: plt.Axes, rows: pd.DataFrame, name: str) -> list[Annotation]:
    if rows.empty:  # a logarithmic axis needs a value
        return []
    best = np.array(pareto.front(list(rows[name]), list(rows.psnr)), dtype=bool)
    on = rows[best].sort_values(name)
    axes.step(on[name], on.psnr, where="post", color=COLOURS[0], alpha=0.6)
    axes.scatter(rows[name], rows.psnr, color=[COLOURS[0] if there else "0.55" for there in best], s=22, zorder=3)
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.16)
    plain(axes)
    return [
        axes.annotate(
            row.model,
            (getattr(row, name), row.psnr),
            xytext=PLACES[0],
            textcoords="offset points",
            size=8,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
        )
        for row in rows.itertuples()
    ]


def _spread(axes: plt.Axes, texts: list[Annotation]) -> None:
    """Put each label where it covers fewest dots and labels, and least of what is outside the panel."""
    dots = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in (axes.transData.transform(text.xy) for text in texts)]
    taken: list[Bbox] = []
    for text in texts:
        boxes = {place: _moved(text, place) for place in PLACES}
        worst = {place: _covered(box, [*dots, *taken], axes.bbox) for place, box in boxes.items()}
        chosen = min(PLACES, key=worst.__getitem__)
        taken.append(_moved(text, chosen))


def _moved(text: Annotation, place: tuple[int, int]) -> Bbox:
    """The label's box in pixels, once it is there."""
    text.set_position(place)
    text.set(ha="left" if place[0] > 0 else "right", va="bottom" if place[1] > 0 else "top")
    return Text.get_window_extent(text)  # without the line to the dot


def _covered(box: Bbox, others: list[Bbox], panel: Bbox) -> float:
    """Pixels of the box that lie on others or outside the panel."""
    parts = [shared.width * shared.height for other in others if (shared := Bbox.intersection(box, other))]
    inside = Bbox.intersection(box, panel)
    return sum(parts) + box.width * box.height - (inside.width * inside.height if inside else 0)
