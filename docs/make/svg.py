"""Minimal SVG writer with deterministic output."""

from dataclasses import dataclass, field
from html import escape

BLUE = "#0072B2"
INK, FAINT, PAPER = "#222222", "#8a8a8a", "#ffffff"
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

Point = tuple[float, float]


@dataclass
class Sheet:
    """SVG elements in drawing order. Lengths in pixels; y points down."""

    marks: list[str] = field(default_factory=list)
    heads: set[str] = field(default_factory=set)  # colours of arrowheads

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, *, title: str = "", edge: str = INK
    ) -> None:
        """A rectangle with its upper left corner at (x, y); the title is a tooltip."""
        hint = f"<title>{escape(title)}</title>" if title else ""
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3"'
        self.marks.append(f'<rect {place} fill="{fill}" stroke="{edge}">{hint}</rect>')

    def dot(self, x: float, y: float, colour: str = INK) -> None:
        self.marks.append(f'<circle cx="{x:g}" cy="{y:g}" r="2.5" fill="{colour}"/>')

    def line(
        self,
        points: list[Point],
        colour: str = INK,
        *,
        width: float = 1.4,
        head: bool = True,
        dashes: str = "",
        title: str = "",
    ) -> None:
        """A polyline, with an arrowhead at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        style = f' stroke-dasharray="{dashes}"' if dashes else ""
        if head:
            self.heads.add(colour)
            style += f' marker-end="url(#head{colour[1:]})"'
        hint = f"<title>{escape(title)}</title>" if title else ""
        self.marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{style}>{hint}</polyline>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        anchor: str = "start",
        bold: bool = False,
        colour: str = INK,
    ) -> None:
        """A line of text, vertically centred at y."""
        weight = ' font-weight="bold"' if bold else ""
        self.marks.append(
            f'<text x="{x:g}" y="{y + 0.36 * size:.4g}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{colour}"{weight}>{escape(text)}</text>'
        )

    def written(self, width: float, height: float, title: str) -> str:
        """The text of the SVG file."""
        heads = "".join(
            f'<marker id="head{colour[1:]}" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto" markerUnits="userSpaceOnUse"><path d="M0,1 L9,5 L0,9 z" fill="{colour}"/></marker>\n'
            for colour in sorted(self.heads)
        )
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="{FONT}" role="img">\n<title>{escape(title)}</title>\n'
        )
        paper = f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>\n'
        return f"{opening}<defs>\n{heads}</defs>\n{paper}" + "\n".join(self.marks) + "\n</svg>\n"
