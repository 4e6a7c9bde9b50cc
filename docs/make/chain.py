"""The units of a net as a drawing: a chain of boxes and circles in rows of one resolution, skips and joins."""

from dataclasses import dataclass, field
from itertools import pairwise

from docs.make.svg import BLUE, FAINT, GREEN, ORANGE, PINK, RED, SKY, Sheet, width_of
from docs.make.trace import WORDS, Unit

FILLS = ["#cfe3f2", "#fbe3b6", "#c9ebdf", "#f0d9e6", "#dcd6ee", "#f7d3c1", "#fbf6c4", "#d9d9d9"]
ARROWS = [RED, GREEN, BLUE, PINK, ORANGE, SKY]
IMAGE, BESIDE = "#eeeeee", "#e6e6e6"
GAP, ROW, HALF, MARGIN, RADIUS = 24, 76, 20, 28, 8
DASHES = "5 3"


@dataclass
class Element:
    """A box, a circle or, without a unit, the image or logits that come out, and where it stands."""

    unit: Unit | None
    via: Unit | None  # what changes the resolution on the way to it
    shape: tuple[int, ...]
    left: float = 0
    right: float = 0
    y: float = 0
    half: float = HALF  # of its height

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


@dataclass
class Legend:
    """Colours by label, given out as labels come."""

    boxes: dict[str, str] = field(default_factory=dict)
    arrows: dict[str, str] = field(default_factory=dict)
    joins: dict[str, None] = field(default_factory=dict)

    def fill(self, label: str) -> str:
        return self.boxes.setdefault(label, FILLS[len(self.boxes) % len(FILLS)])

    def line(self, label: str) -> str:
        return self.arrows.setdefault(label, ARROWS[len(self.arrows) % len(ARROWS)])


class Chain:
    """The units from the first input to the output, in rows of one resolution, with what skips or joins them."""

    def __init__(self, sheet: Sheet, legend: Legend, units: list[Unit], result: str, *, labels: bool = False):
        self.sheet, self.legend, self.units, self.result, self.labels = sheet, legend, units, result, labels
        self.path = _longest(units)
        self.elements = _elements(self.path, arrows=not labels)
        self.by_unit = {id(e.unit): e for e in self.elements if e.unit} | {id(e.via): e for e in self.elements if e.via}

    def draw(self, top: float) -> tuple[float, float]:
        """Draws all below `top`; the right and lower end of what it drew."""
        loops = self._loops()
        bottom = self._place(top, sum(self._cell(source) == self._cell(self.elements[0]) for source, _ in loops))
        bottom = max(bottom, self._branches(bottom))
        for before, after in pairwise(self.elements):
            self._step(before, after)
        for lane, (source, target) in enumerate(loops):
            self._loop(source, target, lane, loops)
        for element in self.elements:
            self._element(element)
        return self.elements[-1].right, bottom

    def _cell(self, element: Element) -> float:
        """The size of a cell in pixels of the input; a vector's is that of what it was made of."""
        first = self.elements[0].shape[1]
        sized = [e for e in self.elements[: self.elements.index(element) + 1] if len(e.shape) == 3]
        return first / sized[-1].shape[1]

    def _place(self, top: float, loops: int) -> float:
        cells = [1.0 if self.labels else self._cell(element) for element in self.elements]
        tallest = max(_half(_lines(e.unit)) for e in self.elements if e.unit) if self.labels else float(HALF)
        first = top + 14 + tallest + 11 * loops
        rows = {cell: first + ROW * n for n, cell in enumerate(sorted(set(cells)))}
        x = MARGIN + (0.0 if self.labels else 46.0)
        for element, cell in zip(self.elements, cells, strict=True):
            x += GAP / 2 if element.via else 0
            element.left, element.y = x, rows[cell]
            element.right = x + self._width(element)
            if element.unit and element.unit.kind == "join":
                element.half = RADIUS
            elif self.labels:
                element.half = (
                    9 if element.unit is None or element.unit.kind == "input" else _half(_lines(element.unit))
                )
            x = element.right + GAP
        if not self.labels:
            for cell, y in rows.items():
                self.sheet.line([(MARGIN + 40, y), (x - GAP, y)], "#ececec", width=1, head=False)
                name = "H × W" if cell == 1 else f"1/{cell:g}"
                self.sheet.text(MARGIN + 34, y, name, size=11, anchor="end", colour=FAINT)
        return max(rows.values()) + HALF

    def _width(self, element: Element) -> float:
        if element.unit and element.unit.kind == "join":
            return 2 * RADIUS
        if element.unit is None or element.unit.kind == "input":
            return 22 if self.labels else 60
        if self.labels:
            return max(width_of(line, 10.5) for line in _lines(element.unit)) + 12
        features = element.shape[0]
        return max(30 + 3.4 * features.bit_length(), width_of(str(features), 14) + 12)

    def _step(self, before: Element, after: Element) -> None:
        if after.via is None and before.y == after.y:
            self.sheet.line([(before.right, before.y), (after.left, after.y)])
            return
        if after.y > before.y:  # down, then right
            points = [(before.middle, before.y + before.half), (before.middle, after.y), (after.left, after.y)]
        elif after.y < before.y:  # right, then up
            points = [(before.right, before.y), (after.middle, before.y), (after.middle, after.y + after.half)]
        else:
            points = [(before.right, before.y), (after.left, after.y)]
        if after.via:
            self.sheet.line(points, self.legend.line(after.via.label), width=2.4, title=_hint(after.via))
        else:
            self.sheet.line(points)

    def _loops(self) -> list[tuple[Element, Element]]:
        """What skips elements of the path: from where to where."""
        found = []
        for n, target in enumerate(self.elements):
            for before in target.unit.inputs if target.unit else []:
                source = self.by_unit.get(id(before))
                direct = before is (target.via or self.elements[n - 1].unit)
                if source and not direct:
                    found.append((source, target))
        return sorted(found, key=lambda loop: self.elements.index(loop[1]) - self.elements.index(loop[0]))

    def _loop(self, source: Element, target: Element, lane: int, loops: list[tuple[Element, Element]]) -> None:
        between = self.elements[self.elements.index(source) + 1 : self.elements.index(target)]
        from_arrow = source.via is not None and any(before is source.via for before in target.unit.inputs)  # type: ignore[union-attr]
        start = (source.left - 14, source.y) if from_arrow else (source.right, source.y)
        if source.y == target.y and not from_arrow and all(element.y != source.y for element in between):
            self.sheet.line([start, (target.left, target.y)], FAINT, dashes=DASHES)
            return
        inner = sum(a.y == source.y and b.y == target.y for a, b in loops[:lane])
        height = source.y - HALF - 10 - 11 * inner
        begin = start if from_arrow else (source.middle, source.y - source.half)
        if from_arrow:
            self.sheet.dot(*start)
        points = [begin, (begin[0], height), (target.middle, height), (target.middle, target.y - target.half)]
        self.sheet.line(points, FAINT, dashes=DASHES)

    def _branches(self, bottom: float) -> float:
        """What is beside the path: inputs stand below their join, layers in a row of their own."""
        beside = [unit for unit in self.units if not any(unit is other for other in self.path)]
        if not beside:
            return bottom
        target = next(e for e in self.elements if e.unit and any(b is beside[-1] for b in e.unit.inputs))
        if beside[-1].kind == "input":
            y = target.y + HALF + 16
            self.sheet.text(target.middle, y, beside[-1].label, size=11, anchor="middle")
            self.sheet.line([(target.middle, y - 8), (target.middle, target.y + target.half)])
            return max(bottom, y + 8)
        y, source = bottom + 34 + HALF, self.elements[0]
        lines = [_lines(unit) for unit in beside]
        widths = [max(width_of(line, 10.5) for line in texts) + 12 for texts in lines]
        x = max(source.right + GAP, target.middle - sum(widths) - GAP * len(widths))
        end = (source.middle, source.y + source.half)
        self.sheet.line([end, (source.middle, y), (x, y)])
        for unit, texts, width in zip(beside, lines, widths, strict=True):
            _labelled(self.sheet, x, y, width, texts, BESIDE, _hint(unit))
            x += width + GAP
            if unit is not beside[-1]:
                self.sheet.line([(x - GAP, y), (x, y)])
        self.sheet.line([(x - GAP, y), (target.middle + 5, y), (target.middle + 5, target.y + target.half - 2)])
        return y + HALF

    def _element(self, element: Element) -> None:
        unit, y = element.unit, element.y
        if unit is None or unit.kind == "input":
            name = self.result if unit is None else unit.label
            if self.labels:
                self.sheet.text(element.middle, y, name, size=11, anchor="middle")
                return
            self.sheet.box(element.left, y - HALF, element.right - element.left, 2 * HALF, IMAGE)
            self.sheet.text(element.middle, y - 6, name, size=11.5, anchor="middle")
            self.sheet.text(element.middle, y + 9, str(element.shape[0]), size=11.5, anchor="middle", bold=True)
        elif unit.kind == "join":
            self.legend.joins.setdefault(unit.label)
            self.sheet.circle(element.middle, y, RADIUS, unit.label, title=WORDS[unit.label])
        elif self.labels:
            _labelled(self.sheet, element.left, y, element.right - element.left, _lines(unit), "#ffffff", _hint(unit))
        else:
            fill = self.legend.fill(unit.label)
            self.sheet.box(element.left, y - HALF, element.right - element.left, 2 * HALF, fill, title=_hint(unit))
            shift = 6 if unit.repeat > 1 else 0
            self.sheet.text(element.middle, y - shift, str(unit.shape[0]), size=14, anchor="middle", bold=True)
            if shift:
                self.sheet.text(element.middle, y + 10, f"× {unit.repeat}", size=11, anchor="middle")


def _longest(units: list[Unit]) -> list[Unit]:
    """The chain from the first input to the output with the most units."""
    longest: dict[int, list[Unit]] = {id(units[0]): [units[0]]}
    for unit in units[1:]:
        chains = [longest[id(before)] for before in unit.inputs if longest[id(before)]]
        longest[id(unit)] = [*max(chains, key=len), unit] if chains else []
    return longest[id(units[-1])]


def _elements(path: list[Unit], arrows: bool) -> list[Element]:
    """The path's boxes and circles; with arrows, a layer that changes the resolution becomes the way to the next."""
    found, via = [Element(path[0], None, path[0].shape)], None
    for before, unit in pairwise(path):
        resizes = arrows and unit.kind == "layer" and len(unit.shape) == 3 and unit.shape[1:] != before.shape[1:]
        if resizes and via is None:
            via = unit
        else:
            found.append(Element(unit, via, unit.shape))
            via = None
    return [*found, Element(None, via, path[-1].shape)]


def _lines(unit: Unit) -> list[str]:
    """Its label in lines that are not wide."""
    label = f"{unit.label}{f', × {unit.repeat}' if unit.repeat > 1 else ''}"
    return (
        label.replace(" of stride", ",of stride")
        .replace("transposed conv", "transposed,conv")
        .replace("depthwise conv", "depthwise,conv")
        .replace(", ", ",")
        .split(",")
    )


def _half(lines: list[str]) -> float:
    """Of a labelled box's height."""
    return max(14, 7 * len(lines) + 4)


def _labelled(sheet: Sheet, x: float, y: float, width: float, lines: list[str], fill: str, title: str) -> None:
    half = _half(lines)
    sheet.box(x, y - half, width, 2 * half, fill, title=title)
    for n, line in enumerate(lines):
        sheet.text(x + width / 2, y + 13 * (n - (len(lines) - 1) / 2), line, size=10.5, anchor="middle")


def _hint(unit: Unit) -> str:
    """What shows under the pointer."""
    times = f"{unit.repeat} × " if unit.repeat > 1 else ""
    shape = " × ".join(map(str, unit.shape))
    return f"{unit.module}: {times}{unit.label}; {shape}; {unit.parameters:,} parameters"
