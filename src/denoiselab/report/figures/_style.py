"""Common style of the figures, and files that are byte-identical for the same numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import ImageFont

from denoiselab.runtime.sanitize import printable

LABELS = {"psnr": "PSNR (dB)", "held_out": "held-out pixels (dB)"}  # by score
WIDTH = 5.2  # inches, of a plot with one panel: legible on a phone
CHANGING = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}  # metadata that differ from run to run
VECTOR: ContextVar[tuple[Path, str] | None] = ContextVar("vector", default=None)
# Okabe and Ito's palette, distinguishable with colour blindness.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Matplotlib's bundled font, the same on every machine; `size` in pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size)


def literal(text: str) -> str:
    """Escape untrusted text, such as class names from folders, which Matplotlib would parse as formulas between $."""
    return printable(text).replace("$", r"\$")


def plain(axes: plt.Axes) -> None:
    """Remove the upper and right spines and add a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


@contextmanager
def vector(folder: Path, suffix: str) -> Iterator[None]:
    """Figures that are saved in this block become vector graphics, .svg or .pdf, in `folder`."""
    token = VECTOR.set((folder, suffix))
    try:
        yield
    finally:
        VECTOR.reset(token)


def save(figure: Figure, path: Path) -> None:
    """Save in the format of the suffix, or see `vector`, without metadata that differs from run to run."""
    if chosen := VECTOR.get():
        folder, suffix = chosen
        path = folder / f"{path.stem}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    # text as text; TrueType, as publishers ask
    with matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": path.name}):
        figure.savefig(path, dpi=110, metadata={CHANGING[path.suffix]: None})
    plt.close(figure)


def legend(axes: plt.Axes) -> None:
    """A legend of all labels above the panel, in as many columns as fit a plot WIDTH wide."""
    labels = axes.get_legend_handles_labels()[1]
    columns = max(1, min(4, 62 // (6 + max(map(len, labels))))) if labels else 1
    axes.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns)
