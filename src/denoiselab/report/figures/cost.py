"""Figure of quality against cost."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.text import Annotation, Text
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from denoiselab.comparison import pareto
from denoiselab.report.figures._style import COLOURS, LABELS, plain, plt, save

QUANTITIES = {"ms": "ms per megapixel", "macs": "GMAC per megapixel", "parameters": "parameters"}
PLACES = [
    (x, y) for y in (5, -5, 17, -17, 29, -29, 41, -41) for x in (5, -5)
]  # offsets of a label from its dot in points, tried in order


def tradeoffs(rows: pd.DataFrame, path: Path, score: str = "psnr") -> None:
    """Plot a score (dB, mean over the conditions of a protocol) against each of QUANTITIES, with the Pareto front.

    One row of panels per test set and protocol. `rows` has set, protocol, protocol_sha256, condition, model, the score
    and the quantities, NaN or 0 where a model has none.
    """
    shown = [name for name in QUANTITIES if (rows[name] > 0).any()]
    groups = list(rows.groupby(["set", "protocol", "protocol_sha256"], sort=False))
    size = (4.6 * len(shown), 3.8 * len(groups))
    figure, panels = plt.subplots(len(groups), len(shown), figsize=size, layout="constrained", squeeze=False)
    labels = []
    for line, ((set_name, protocol, _), own) in zip(panels, groups, strict=True):
        conditions = list(dict.fromkeys(own.condition))
        title = f"{set_name}, {conditions[0] if len(conditions) == 1 else f'mean of {len(conditions)} ({protocol})'}"
        own = (
            own.groupby("model", sort=False)[[score, *QUANTITIES]]
            .agg(lambda column: column.mean(skipna=False))
            .reset_index()
        )
        for axes, name in zip(line, shown, strict=True):
            labels.append((axes, _panel(axes, own[(own[name] > 0) & own[score].notna()], name, score)))
            axes.set(xlabel=QUANTITIES[name], ylabel=LABELS[score], title=title)
    figure.draw_without_rendering()  # computes positions in pixels
    figure.set_layout_engine("none")
    for axes, texts in labels:
        _spread(axes, texts)
    save(figure, path)


def _panel(axes: plt.Axes, rows: pd.DataFrame, name: str, score: str) -> list[Annotation]:
    if rows.empty:  # a logarithmic axis needs values
        return []
    best = np.array(pareto.front(list(rows[name]), list(rows[score])), dtype=bool)
    on = rows[best].sort_values(name)
    axes.step(on[name], on[score], where="post", color=COLOURS[0], alpha=0.6)
    axes.scatter(rows[name], rows[score], color=[COLOURS[0] if there else "0.55" for there in best], s=22, zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.16, y=0.16)
    plain(axes)
    return [
        axes.annotate(
            row.model,
            (getattr(row, name), getattr(row, score)),
            xytext=PLACES[0],
            textcoords="offset points",
            size=8,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
        )
        for row in rows.itertuples()
    ]


def _spread(axes: plt.Axes, texts: list[Annotation]) -> None:
    """Place each label where it overlaps dots, other labels and the panel's border least."""
    dots = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in (axes.transData.transform(text.xy) for text in texts)]
    taken: list[Bbox] = []
    for text in texts:
        box = Text.get_window_extent(text)  # without the line to the dot
        x, y = axes.transData.transform(text.xy)
        places = {place: _box(x, y, place, box.width, box.height, axes.figure.dpi / 72) for place in PLACES}
        near = [
            other for other in (*dots, *taken) if abs(other.x0 - x) < 2 * box.width + 60 and abs(other.y0 - y) < 120
        ]
        chosen = min(PLACES, key=lambda place: _covered(places[place], near, axes.bbox))
        text.set_position(chosen)
        text.set(ha="left" if chosen[0] > 0 else "right", va="bottom" if chosen[1] > 0 else "top")
        taken.append(places[chosen])


def _box(x: float, y: float, place: tuple[int, int], width: float, height: float, scale: float) -> Bbox:
    """Extent in pixels of a label at the offset `place` (points) from the dot at (x, y)."""
    left, bottom = x + scale * place[0], y + scale * place[1]
    return Bbox.from_bounds(left - width * (place[0] < 0), bottom - height * (place[1] < 0), width, height)


def _covered(box: Bbox, others: list[Bbox], panel: Bbox) -> float:
    """Area of the box on others or outside the panel."""
    parts = [_shared(box, other) for other in others]
    return sum(parts) + box.width * box.height - _shared(box, panel)


def _shared(one: Bbox, other: Bbox) -> float:
    """Area of the intersection."""
    width, height = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, width) * max(0.0, height)
