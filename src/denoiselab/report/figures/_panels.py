"""Composes images pixel by pixel: text, rows and columns of panels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from denoiselab.report.figures._style import font

GAP, TEXT = 6, 13  # pixels: between panels, font size


@dataclass(frozen=True)
class Panel:
    """An image (H, W, C) uint8 under a title of one or two lines."""

    title: str
    pixels: np.ndarray


def text(title: str, width: int, colour: str, align: str, size: int = TEXT) -> Image.Image:
    """Lines of text on white, `size` pixels high, smaller if they do not fit the width."""
    lines, height = title.split("\n"), size + 4
    while size > 8 and max(font(size).getlength(line) for line in lines) > width:
        size -= 1
    result = Image.new("RGB", (width, 5 + height * len(lines)), "white")
    draw = ImageDraw.Draw(result)
    for n, line in enumerate(lines):
        x = (width - font(size).getlength(line)) / 2 if align == "center" else 0
        draw.text((max(0, x), 2 + height * n), line, fill=colour, font=font(size))
    return result


def beside(parts: Sequence[Image.Image], gap: int) -> Image.Image:
    """A row on white, aligned at the top."""
    width = sum(part.width for part in parts) + gap * (len(parts) - 1)
    result, x = Image.new("RGB", (width, max(part.height for part in parts)), "white"), 0
    for part in parts:
        result.paste(part, (x, 0))
        x += part.width + gap
    return result


def stack(parts: Sequence[Image.Image], gap: int) -> Image.Image:
    """A column on white, aligned at the left."""
    height = sum(part.height for part in parts) + gap * (len(parts) - 1)
    result, y = Image.new("RGB", (max(part.width for part in parts), height), "white"), 0
    for part in parts:
        result.paste(part, (0, y))
        y += part.height + gap
    return result


def coloured(pixels: np.ndarray) -> Image.Image:
    """(H, W, 1) or (H, W, 3) uint8 as a new RGB image."""
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
