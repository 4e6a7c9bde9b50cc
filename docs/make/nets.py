"""A picture of each architecture, drawn from what trace.py finds when the net runs.

Boxes are layers or blocks, rows are resolutions, coloured arrows lead to another. Below stand the legend and, for each
block of the project's own, what is in it.
"""

import torch
from torch import nn

from docs.make.chain import MARGIN, Chain, Legend
from docs.make.svg import FAINT, Sheet, width_of
from docs.make.trace import WORDS, Unit, trace

SIDE = 96  # pixels of the image that runs through: every net's resolutions divide it


def draw(net: nn.Module, title: str, subtitle: str, channels: int = 3) -> str:
    """The SVG of a net; its number of parameters stands beside the title."""
    units = trace(net.eval(), *_inputs(net, channels))
    total = f"{sum(unit.parameters for unit in units):,} parameters"
    sheet, legend = Sheet(), Legend()
    sheet.text(MARGIN, 24, title, size=17, bold=True)
    sheet.text(MARGIN, 45, f"{total}; {subtitle}", size=11.5, colour=FAINT)
    result = "logits" if getattr(net, "task", None) == "classify" else "restored"
    right, bottom = Chain(sheet, legend, units, result).draw(66)
    width = max(right + MARGIN, 2 * MARGIN + width_of(f"{total}; {subtitle}", 11.5), 600)
    bottom = _keys(sheet, legend, bottom + 30, width)
    insets = [unit for unit in units if unit.kind == "block" and not hasattr(unit.net, "task")]
    for unit in {unit.label: unit for unit in reversed(insets)}.values():
        right, bottom = _inset(sheet, unit, bottom + 16)
        width = max(width, right + MARGIN)
    return sheet.written(round(width), round(bottom + 12), f"{title}: {total}; {subtitle}")


def _inputs(net: nn.Module, channels: int) -> list[tuple[str, torch.Tensor]]:
    image = ("noisy", torch.empty(1, channels, SIDE, SIDE, device="meta"))
    return [image, ("noise level", torch.empty(1, device="meta"))] if getattr(net, "noise_aware", False) else [image]


def _keys(sheet: Sheet, legend: Legend, top: float, width: float) -> float:
    """The legend in rows; its lower end."""
    keys = [("box", label, colour) for label, colour in legend.boxes.items()]
    keys += [("arrow", label, colour) for label, colour in legend.arrows.items()]
    keys += [("join", label, WORDS[label]) for label in legend.joins]
    x, y = float(MARGIN), top
    for kind, label, value in keys:
        text = value if kind == "join" else label
        needed = 34 + width_of(text, 11.5) + 16
        if x + needed > width and x > MARGIN:
            x, y = float(MARGIN), y + 21
        if kind == "box":
            sheet.box(x, y - 7, 24, 14, value)
        elif kind == "arrow":
            sheet.line([(x, y), (x + 24, y)], value, width=2.4)
        else:
            sheet.circle(x + 12, y, 7, label)
        sheet.text(x + 32, y, text, size=11.5)
        x += needed
    note = "Numbers: features (channels). Rows: resolution. Dashed: skips."
    sheet.text(MARGIN, y + 22, note, size=11, colour=FAINT)
    return y + 32


def _inset(sheet: Sheet, unit: Unit, top: float) -> tuple[float, float]:
    """What is in a block; where the drawing ends."""
    assert unit.net is not None and unit.example is not None, unit
    units = trace(unit.net, ("x", unit.example))
    sheet.text(MARGIN, top + 8, unit.label, size=13, bold=True)
    sheet.text(MARGIN + width_of(unit.label, 13) + 22, top + 8, f"here {unit.module}", size=11, colour=FAINT)
    right, bottom = Chain(sheet, Legend(), units, "y", labels=True).draw(top + 8)
    inner = {type(u.net).__name__: u.net for u in units if u.net is not None}
    for name, net in inner.items():
        bottom += 18
        text = f"{name}: {(type(net).__doc__ or '').strip().partition(chr(10))[0]}"
        sheet.text(MARGIN, bottom, text, size=11, colour=FAINT)
        right = max(right, MARGIN + width_of(text, 11))
    return right, bottom
