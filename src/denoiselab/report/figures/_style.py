"""What the figures have in common: colours, lines, and files that are the same bytes for the same numbers."""

from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import ImageFont

from denoiselab.runtime.sanitize import printable

LABELS = {"psnr": "PSNR (dB)", "held_out": "held-out pixels (dB)"}  # of scores
# Okabe and Ito: told apart by colour-blind readers, too.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which is there on every machine; `size` in pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size)


def literal(text: str) -> str:
    """Text of strangers, such as a class named by a folder: Matplotlib takes what is between $ for a formula."""
    return printable(text).replace("$", r"\$")


def plain(axes: plt.Axes) -> None:
    """No frame but the axes, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def save(figure: Figure, path: Path) -> None:
    """As PNG without anything that changes from run to run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
