"""Figures of pictures: enlarged crops of every model's output, its errors, patches as training went on.

Put together pixel by pixel, so that nothing is resampled but by whole factors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw

from denoiselab.report.figures._panels import GAP, Panel, beside, coloured, stack, text

TILE = 192  # pixels, about what a crop is enlarged to
ZOOM = 96  # pixels, side of the enlarged crop
DETAIL = 112  # pixels, side of the crop where an output is most wrong
PANELS = 6  # a row of the picture grid
WIDEST = 520  # pixels, of the whole picture
BOX, ALARM = "#E69F00", "#C1121F"


@dataclass(frozen=True)
class Example:
    """An output to look at closely: clean, noisy and restored (H, W, C) uint8."""

    title: str
    alarming: bool
    clean: np.ndarray
    noisy: np.ndarray
    restored: np.ndarray


def grid(clean: np.ndarray, panels: Sequence[Panel], path: Path) -> None:
    """The clean picture (H, W, C) uint8 with a box, and the box enlarged in every panel."""
    y, x = busiest(clean, ZOOM)
    crops = [Panel(panel.title, panel.pixels[y : y + ZOOM, x : x + ZOOM]) for panel in panels]
    lines = [_line(crops[n : n + PANELS]) for n in range(0, len(crops), PANELS)]
    right = stack(lines, GAP)
    whole = coloured(clean)
    ImageDraw.Draw(whole).rectangle((x - 1, y - 1, x + ZOOM, y + ZOOM), outline=BOX, width=2)
    scale = min(right.height / whole.height, WIDEST / whole.width)
    left = whole.resize((round(scale * whole.width), round(scale * whole.height)), Image.Resampling.LANCZOS)
    _save(beside([left, right], GAP), path)


def errors(examples: Sequence[Example], sigma_255: float, path: Path) -> None:
    """A row an example, where its error is largest: the pictures, what was taken away and what is wrong.

    The maps are means over channels; their scales are 3 and 1 `sigma_255` either way, in blue what is too dark.
    """
    heads = (
        "clean",
        "noisy",
        "restored",
        f"noisy − restored, ±{3 * sigma_255:.0f}",
        f"restored − clean, ±{sigma_255:.0f}",
    )
    rows = []
    for example in examples:
        wrong = _mean(example.restored) - _mean(example.clean)
        maps = [_diverging(_taken(example), 3 * sigma_255), _diverging(wrong, sigma_255)]
        rows.append(((example.clean, example.noisy, example.restored, *maps), _fullest(wrong**2, DETAIL)))
    _details(examples, heads, rows, path)


def residuals(examples: Sequence[Example], sigma_255: float, path: Path) -> None:
    """A row an example, where most was taken away: noisy, restored, and what was taken away, as in `errors`.

    For pictures without clean ones, which are not shown.
    """
    heads = ("noisy", "restored", f"noisy − restored, ±{3 * sigma_255:.0f}")
    rows = []
    for example in examples:
        taken = _taken(example)
        rows.append(((example.noisy, example.restored, _diverging(taken, 3 * sigma_255)), _fullest(taken**2, DETAIL)))
    _details(examples, heads, rows, path)


def _taken(example: Example) -> np.ndarray:
    """What the model took away, (H, W)."""
    return _mean(example.noisy) - _mean(example.restored)


def _details(
    examples: Sequence[Example],
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[np.ndarray], tuple[int, int]]],
    path: Path,
) -> None:
    """A row an example, below its title: the same detail of its pictures, from the corner (y, x)."""
    parts = []
    for example, (pictures, (y, x)) in zip(examples, rows, strict=True):
        cut = [pixels[y : y + DETAIL, x : x + DETAIL] for pixels in pictures]
        line = _line([Panel(head, pixels) for head, pixels in zip(heads, cut, strict=True)])
        colour = ALARM if example.alarming else "black"
        parts.append(stack([text(example.title, line.width, colour, "left"), line], 0))
    _save(stack(parts, 2 * GAP), path)


def progress(patches: np.ndarray, titles: list[str], path: Path) -> None:
    """Rows of validation patches (H, W, C) uint8 in equal columns, a title above each column."""
    width = patches.shape[1] // len(titles)
    columns = [patches[:, n * width : (n + 1) * width] for n in range(len(titles))]
    _save(_line([Panel(title, column) for title, column in zip(titles, columns, strict=True)]), path)


def _line(panels: Sequence[Panel]) -> Image.Image:
    """Panels side by side, enlarged to about TILE pixels wide."""
    lines = max(panel.title.count("\n") for panel in panels)
    tiles = []
    for panel in panels:
        picture = coloured(panel.pixels)
        factor = max(1, round(TILE / picture.width))
        picture = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
        title = panel.title + "\n" * (lines - panel.title.count("\n"))
        tiles.append(stack([text(title, picture.width, "black", "center"), picture], 0))
    return beside(tiles, GAP)


def _diverging(values: np.ndarray, limit: float) -> np.ndarray:
    """(H, W) values of -limit to limit as (H, W, 3) uint8, white at 0."""
    return np.asarray(mpl.colormaps["RdBu_r"](values / (2 * limit) + 0.5, bytes=True)[:, :, :3])


def _mean(pixels: np.ndarray) -> np.ndarray:
    """The mean of the channels (H, W) float32."""
    return np.asarray(pixels.mean(axis=2), dtype=np.float32)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "WEBP", quality=85, method=2)


def busiest(image: np.ndarray, size: int) -> tuple[int, int]:
    """Corner (y, x) of the window with the most detail."""
    gray = image.mean(axis=2).astype(np.float32)
    return _fullest(np.abs(cv2.Laplacian(gray, cv2.CV_32F)), size)


def _fullest(values: np.ndarray, size: int) -> tuple[int, int]:
    """Corner (y, x) of the window of (H, W) float32 values with the largest sum."""
    window = (min(size, values.shape[1]), min(size, values.shape[0]))
    sums = cv2.boxFilter(values, -1, window, anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    valid = sums[: values.shape[0] - window[1] + 1, : values.shape[1] - window[0] + 1]
    y, x = np.unravel_index(int(np.argmax(valid)), valid.shape)
    return int(y), int(x)
