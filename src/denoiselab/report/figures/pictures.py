"""Image figures: enlarged crops of every model's output, residuals and errors, patches during training.

Composed pixel by pixel: crops are enlarged by integer factors only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw

from denoiselab.report.figures._panels import GAP, Panel, beside, coloured, stack, text

TILE = 144  # pixels, approximate size of an enlarged crop
ZOOM = 72  # pixels, side of the enlarged crop
DETAIL = 144  # pixels, side of the crop with the largest error
PANELS = 5  # per row of the grid
WIDEST = 360  # pixels, of the whole image
HEAD = 18  # pixels, font of a figure's title
COLUMNS = 3  # of a figure that is legible on a phone
QUALITY = 70  # of WebP
BOX, ALARM = "#E69F00", "#C1121F"


@dataclass(frozen=True)
class Example:
    """An output with its input: clean, noisy and restored (H, W, C) uint8."""

    title: str
    alarming: bool
    clean: np.ndarray
    noisy: np.ndarray
    restored: np.ndarray


def grid(clean: np.ndarray, panels: Sequence[Panel], path: Path) -> None:
    """The clean image (H, W, C) uint8 with a box, and the box enlarged for every panel."""
    y, x = busiest(clean, ZOOM)
    crops = [Panel(panel.title, panel.pixels[y : y + ZOOM, x : x + ZOOM]) for panel in panels]
    lines = [_line(crops[n : n + PANELS]) for n in range(0, len(crops), PANELS)]
    right = stack(lines, GAP)
    whole = coloured(clean)
    ImageDraw.Draw(whole).rectangle((x - 1, y - 1, x + ZOOM, y + ZOOM), outline=BOX, width=2)
    scale = min(right.height / whole.height, WIDEST / whole.width)
    left = whole.resize((round(scale * whole.width), round(scale * whole.height)), Image.Resampling.LANCZOS)
    _save(beside([left, right], GAP), path)


def errors(model: str, examples: Sequence[Example], sigma_255: float, path: Path) -> None:
    """Two rows per example of a model, cropped where its error is largest: clean, noisy, restored; residual and error.

    Residual and error are means over channels, scaled to ±3 and ±1 `sigma_255`; blue is negative.
    """
    shown = (f"residual\n±{3 * sigma_255:.0f} of 255", f"error\n±{sigma_255:.0f} of 255")
    heads = ("clean", "noisy", "restored", *shown)
    rows = []
    for example in examples:
        error = _mean(example.restored) - _mean(example.clean)
        maps = [_diverging(_residual(example), 3 * sigma_255), _diverging(error, sigma_255)]
        rows.append(((example.clean, example.noisy, example.restored, *maps), _fullest(error**2, DETAIL)))
    _details(model, examples, heads, rows, path)


def residuals(model: str, examples: Sequence[Example], sigma_255: float, path: Path) -> None:
    """A row per example of a model, cropped where its residual is largest: noisy, restored, residual."""
    heads = ("noisy", "restored", f"residual\n±{3 * sigma_255:.0f} of 255")
    rows = []
    for example in examples:
        residual = _residual(example)
        maps = (example.noisy, example.restored, _diverging(residual, 3 * sigma_255))
        rows.append((maps, _fullest(residual**2, DETAIL)))
    _details(model, examples, heads, rows, path)


def _residual(example: Example) -> np.ndarray:
    """Noisy minus restored, mean over channels, (H, W) float32."""
    return _mean(example.noisy) - _mean(example.restored)


def _details(
    model: str,
    examples: Sequence[Example],
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[np.ndarray], tuple[int, int]]],
    path: Path,
) -> None:
    """Rows of COLUMNS per example under its title: the crop of each image at the corner (y, x)."""
    parts: list[Image.Image] = []
    for example, (images, (y, x)) in zip(examples, rows, strict=True):
        cut = [pixels[y : y + DETAIL, x : x + DETAIL] for pixels in images]
        panels = [Panel(head, pixels) for head, pixels in zip(heads, cut, strict=True)]
        lines = [_line(panels[n : n + COLUMNS]) for n in range(0, len(panels), COLUMNS)]
        colour = ALARM if example.alarming else "black"
        parts.append(stack([text(example.title, lines[0].width, colour, "left"), *lines], 0))
    _save(stack([text(model, parts[0].width, "black", "left", HEAD), *parts], 2 * GAP), path)


def progress(patches: np.ndarray, titles: list[str], path: Path) -> None:
    """A row of patches for each title. `patches` (H, W, C) uint8: rows of square patches, a column per title.

    At most COLUMNS patches are shown.
    """
    side = patches.shape[1] // len(titles)
    rows = range(0, min(patches.shape[0], COLUMNS * side), side)
    parts = []
    for n, title in enumerate(titles):
        own = [patches[y : y + side, n * side : (n + 1) * side] for y in rows]
        line = beside([_enlarged(pixels) for pixels in own], GAP)
        parts.append(stack([text(title, line.width, "black", "left"), line], 0))
    _save(stack(parts, GAP), path)


def _line(panels: Sequence[Panel]) -> Image.Image:
    """Panels side by side, enlarged to about TILE pixels wide."""
    lines = max(panel.title.count("\n") for panel in panels)
    tiles = []
    for panel in panels:
        image = _enlarged(panel.pixels)
        title = panel.title + "\n" * (lines - panel.title.count("\n"))
        tiles.append(stack([text(title, image.width, "black", "center"), image], 0))
    return beside(tiles, GAP)


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """(H, W, C) uint8, enlarged by an integer factor to about TILE pixels wide."""
    image = coloured(pixels)
    factor = max(1, round(TILE / image.width))
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def _diverging(values: np.ndarray, limit: float) -> np.ndarray:
    """(H, W) values of -limit to limit as (H, W, 3) uint8, white at 0."""
    return np.asarray(mpl.colormaps["RdBu_r"](values / (2 * limit) + 0.5, bytes=True)[:, :, :3])


def _mean(pixels: np.ndarray) -> np.ndarray:
    """Mean over channels, (H, W) float32."""
    return np.asarray(pixels.mean(axis=2), dtype=np.float32)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "WEBP", quality=QUALITY, method=4)


def busiest(image: np.ndarray, height: int, width: int | None = None) -> tuple[int, int]:
    """Corner (y, x) of the window (a square without `width`) with the most structure, by the absolute Laplacian."""
    gray = image.mean(axis=2).astype(np.float32)
    return _fullest(np.abs(cv2.Laplacian(gray, cv2.CV_32F)), height, width)


def _fullest(values: np.ndarray, height: int, width: int | None = None) -> tuple[int, int]:
    """Corner (y, x) of the window of (H, W) float32 values with the largest sum."""
    window = (min(width or height, values.shape[1]), min(height, values.shape[0]))
    sums = cv2.boxFilter(values, -1, window, anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    valid = sums[: values.shape[0] - window[1] + 1, : values.shape[1] - window[0] + 1]
    y, x = np.unravel_index(int(np.argmax(valid)), valid.shape)
    return int(y), int(x)
