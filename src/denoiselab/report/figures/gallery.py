"""Versions of one picture side by side: each whole, with its middle enlarged below it."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from denoiselab.report.figures._panels import GAP, Panel, beside, coloured, stack, text

WIDTH = 336  # pixels, of a panel: wide enough for its caption
ZOOM = 112  # pixels, side of the square in the middle
SHAPE = 1.6  # width by height that the whole is to come near, about a screen's
LETTERS = 16  # pixels
BOX = "#E69F00"


def gallery(panels: Sequence[Panel]) -> Image.Image:
    """Panels of pictures (H, W, C) uint8 of one size, whatever that is.

    Large ones are reduced to the panel's width, small ones enlarged by whole factors.
    """
    height, width = panels[0].pixels.shape[:2]
    part = _middle(width, height)
    tiles = [_tile(panel, part) for panel in panels]
    columns = _columns(len(tiles), tiles[0].width / tiles[0].height)
    rows = [beside(tiles[n : n + columns], 2 * GAP) for n in range(0, len(tiles), columns)]
    return _framed(stack([_head(width, height, part, rows[0].width), *rows], 2 * GAP))


def _middle(width: int, height: int) -> tuple[int, int, int, int] | None:
    """Left, upper, right and lower edge of what is enlarged; None: the whole picture is as large as that."""
    if max(width, height) <= ZOOM:
        return None
    across, down = min(width, ZOOM), min(height, ZOOM)
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def _tile(panel: Panel, part: tuple[int, int, int, int] | None) -> Image.Image:
    picture = coloured(panel.pixels)
    caption = text(panel.title, WIDTH, "black", "center", LETTERS)
    whole = _fitted(picture)
    if part is None:
        return stack([caption, _centred(whole)], 0)
    scale = whole.width / picture.width
    ImageDraw.Draw(whole).rectangle([scale * edge for edge in part], outline=BOX, width=2)
    return stack([caption, _centred(whole), _centred(_fitted(picture.crop(part)))], GAP)


def _fitted(picture: Image.Image) -> Image.Image:
    """Into a square of WIDTH: reduced, or enlarged by a whole factor."""
    factor = WIDTH / max(picture.size)
    if factor >= 1:
        factor, how = int(factor), Image.Resampling.NEAREST
    else:
        how = Image.Resampling.LANCZOS
    return picture.resize((max(1, round(factor * picture.width)), max(1, round(factor * picture.height))), how)


def _centred(picture: Image.Image) -> Image.Image:
    """In the panel's width."""
    result = Image.new("RGB", (WIDTH, picture.height), "white")
    result.paste(picture, ((WIDTH - picture.width) // 2, 0))
    return result


def _columns(count: int, shape: float) -> int:
    """How many panels of that width by height go into a row: rows of like length, the whole near SHAPE."""

    def miss(columns: int) -> float:
        return abs(math.log(shape * columns / math.ceil(count / columns) / SHAPE))

    rows = math.ceil(count / min(range(1, count + 1), key=miss))
    return math.ceil(count / rows)


def _head(width: int, height: int, part: tuple[int, int, int, int] | None, room: int) -> Image.Image:
    said = f"{width} x {height} pixels"
    if part is not None:
        across, down = part[2] - part[0], part[3] - part[1]
        factor = WIDTH // max(across, down)
        said += f"; below each, the {across} x {down} in the middle, {factor} times as large"
    return text(said, room, "#555555", "left", LETTERS - 2)


def _framed(picture: Image.Image) -> Image.Image:
    result = Image.new("RGB", (picture.width + 4 * GAP, picture.height + 4 * GAP), "white")
    result.paste(picture, (2 * GAP, 2 * GAP))
    return result
