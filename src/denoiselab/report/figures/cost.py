"""Figures of quality against cost."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.text import Annotation, Text
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from denoiselab.comparison import pareto
from denoiselab.report.figures._style import COLOURS, LABELS, WIDTH, literal, plain, plt, save

QUANTITIES = {"ms": "ms per megapixel", "macs": "GMAC per megapixel", "parameters": "parameters"}
FEWEST = 3  # models of a plot
PLACES = [
    (x, y) for y in (5, -5, 17, -17, 29, -29, 41, -41) for x in (5, -5)
]  # offsets of a label from its dot in points, tried in order


def tradeoffs(rows: pd.DataFrame, folder: Path, score: str = "psnr") -> list[dict[str, str]]:
    """Plot a score (dB, mean over the conditions of a protocol) against each of QUANTITIES, with the Pareto front.

    One file per test set, protocol and quantity that at least FEWEST models have; returns their `title` and `path`.
    `rows` has set, protocol, protocol_sha256, condition, model, place (title of set and condition), the score and the
    quantities, NaN or 0 where a model has none.
    """
    found = []
    for (set_name, protocol, sha256), own in rows.groupby(["set", "protocol", "protocol_sha256"], sort=False):
        conditions = list(dict.fromkeys(own.condition))
        place = str(own.place.iloc[0])
        if len(conditions) > 1:
            place = f"{place.rpartition(', ')[0]}, mean of {len(conditions)} conditions ({protocol})"
        mean = (
            own.groupby("model", sort=False)[[score, *QUANTITIES]]
            .agg(lambda column: column.mean(skipna=False))
            .reset_index()
        )
        for name, label in QUANTITIES.items():
            shown = mean[(mean[name] > 0) & mean[score].notna()]
            if len(shown) < FEWEST:
                continue
            what = f"{LABELS[score].removesuffix(' (dB)')} against {label}"
            figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
            texts = _panel(axes, shown, name, score)
            axes.set(xlabel=label, ylabel=LABELS[score])
            axes.set_title("\n".join([what, *map(literal, textwrap.wrap(place, 60))]), fontsize=9.5)
            figure.draw_without_rendering()  # computes positions in pixels
            figure.set_layout_engine("none")
            _spread(axes, texts)
            path = folder / f"{name}-{set_name}-{protocol}-{sha256}.svg"
            save(figure, path)
            found.append({"title": f"{what}: {place}", "path": path.name})
    return found


def _panel(axes: plt.Axes, rows: pd.DataFrame, name: str, score: str) -> list[Annotation]:
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
