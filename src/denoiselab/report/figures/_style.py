"""Common style of the figures, and files that are byte-identical for the same numbers."""

from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import ImageFont

from denoiselab.runtime.sanitize import printable

LABELS = {"psnr": "PSNR (dB)", "held_out": "held-out pixels (dB)"}  # by score
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


def save(figure: Figure, path: Path) -> None:
    """Save as PNG without metadata that differs from run to run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
