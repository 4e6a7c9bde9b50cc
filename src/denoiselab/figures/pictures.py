"""Figures of pictures: enlarged crops of every model's output, patches as training went on."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.patches import Rectangle

from denoiselab.figures._style import plt, save

ZOOM = 96  # pixels, side of the enlarged crop
PANELS = 5  # a row of the picture grid


def grid(clean: np.ndarray, panels: list[tuple[str, np.ndarray]], path: Path) -> None:
    """The clean picture with a box, and the box enlarged in every panel.

    `clean` and the panels' pictures are (H, W, C) uint8; a panel's title stands above it.
    """
    y, x = busiest(clean, ZOOM)
    size = (min(ZOOM, clean.shape[0]), min(ZOOM, clean.shape[1]))
    rows = -(-len(panels) // PANELS)
    figure = plt.figure(figsize=(2.3 * PANELS + 2.5 * rows, 2.5 * rows), layout="constrained")
    whole, right = figure.subfigures(
        1, 2, width_ratios=[2.5 * rows * clean.shape[1] / max(clean.shape[:2]), 2.3 * PANELS]
    )
    axes = whole.subplots()
    _picture(axes, clean, "")
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), size[1], size[0], fill=False, edgecolor="#E69F00", linewidth=2))
    for spot, (title, pixels) in zip(
        right.subplots(rows, PANELS, squeeze=False).flat, panels + [("", None)] * PANELS, strict=False
    ):
        if pixels is None:
            spot.set_axis_off()
        else:
            _picture(spot, pixels[y : y + size[0], x : x + size[1]], title)
    save(figure, path)


def progress(patches: np.ndarray, titles: list[str], path: Path) -> None:
    """Rows of validation patches (H, W, C) uint8 in equal columns, a title above each column."""
    width = patches.shape[1] // len(titles)
    figure, panels = plt.subplots(1, len(titles), figsize=(1.6 * len(titles), 1.6 * patches.shape[0] / width + 0.3))
    for n, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        _picture(axes, patches[:, n * width : (n + 1) * width], title)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.25 / figure.get_size_inches()[1], wspace=0.02)
    save(figure, path)


def _picture(axes: plt.Axes, pixels: np.ndarray, title: str) -> None:
    axes.imshow(
        pixels if pixels.shape[-1] == 3 else pixels[:, :, 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def busiest(image: np.ndarray, size: int) -> tuple[int, int]:
    """Corner (y, x) of the window with the most detail."""
    gray = image.mean(axis=2).astype(np.float32)
    detail = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    window = (min(size, image.shape[1]), min(size, image.shape[0]))
    sums = cv2.boxFilter(detail, -1, window, anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    valid = sums[: image.shape[0] - window[1] + 1, : image.shape[1] - window[0] + 1]
    y, x = np.unravel_index(int(np.argmax(valid)), valid.shape)
    return int(y), int(x)
