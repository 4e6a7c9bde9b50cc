"""Versions of one image side by side, each with a part enlarged below it."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from denoiselab.report.figures._panels import GAP, Panel, beside, coloured, stack, text

WIDTH = 336  # pixels, of a panel; fits the caption
ZOOM = 112  # pixels, side of the square in the centre
SHAPE = 1.6  # target ratio of width to height, about that of a screen
LETTERS = 16  # pixels
BOX = "#E69F00"


Area = tuple[int, int, int, int]  # left, upper, right and lower edge in pixels


def gallery(panels: Sequence[Panel], part: Area | None = None) -> Image.Image:
    """Panels of images (H, W, C) uint8 of one size. `part` is enlarged; None: the centre.

    Large images are reduced to the panel's width, small ones enlarged by integer factors.
    """
    height, width = panels[0].pixels.shape[:2]
    part = part or _middle(width, height)
    tiles = [_tile(panel, part) for panel in panels]
    columns = _columns(len(tiles), tiles[0].width / tiles[0].height)
    rows = [beside(tiles[n : n + columns], 2 * GAP) for n in range(0, len(tiles), columns)]
    return _framed(stack([_head(width, height, part, rows[0].width), *rows], 2 * GAP))


def _middle(width: int, height: int) -> Area | None:
    """Left, upper, right and lower edge of the enlarged region; None for images no larger than that."""
    if max(width, height) <= ZOOM:
        return None
    across, down = min(width, ZOOM), min(height, ZOOM)
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def _tile(panel: Panel, part: Area | None) -> Image.Image:
    image = coloured(panel.pixels)
    caption = text(panel.title, WIDTH, "black", "center", LETTERS)
    whole = _fitted(image)
    if part is None:
        return stack([caption, _centred(whole)], 0)
    scale = whole.width / image.width
    ImageDraw.Draw(whole).rectangle([scale * edge for edge in part], outline=BOX, width=2)
    return stack([caption, _centred(whole), _centred(_fitted(image.crop(part)))], GAP)


def _fitted(image: Image.Image) -> Image.Image:
    """Fit into a square of WIDTH: reduced, or enlarged by an integer factor."""
    factor = WIDTH / max(image.size)
    if factor >= 1:
        factor, how = int(factor), Image.Resampling.NEAREST
    else:
        how = Image.Resampling.LANCZOS
    return image.resize((max(1, round(factor * image.width)), max(1, round(factor * image.height))), how)


def _centred(image: Image.Image) -> Image.Image:
    """Centre in the panel's width."""
    result = Image.new("RGB", (WIDTH, image.height), "white")
    result.paste(image, ((WIDTH - image.width) // 2, 0))
    return result


def _columns(count: int, shape: float) -> int:
    """Panels per row, so that rows are about equally long and the gallery is near SHAPE. `shape`: of a panel."""

    def miss(columns: int) -> float:
        return abs(math.log(shape * columns / math.ceil(count / columns) / SHAPE))

    rows = math.ceil(count / min(range(1, count + 1), key=miss))
    return math.ceil(count / rows)


def _head(width: int, height: int, part: Area | None, room: int) -> Image.Image:
    label = f"{width} x {height} pixels"
    if part is not None:
        across, down = part[2] - part[0], part[3] - part[1]
        place = "its central" if part == _middle(width, height) else f"from {part[0]}, {part[1]}"
        factor = WIDTH // max(across, down)
        label += f"; below each image {place} {across} x {down} pixels{f', enlarged {factor}x' if factor > 1 else ''}"
    return text(label, room, "#555555", "left", LETTERS - 2)


def _framed(image: Image.Image) -> Image.Image:
    result = Image.new("RGB", (image.width + 4 * GAP, image.height + 4 * GAP), "white")
    result.paste(image, (2 * GAP, 2 * GAP))
    return result
