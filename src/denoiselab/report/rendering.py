"""Renders templates to Markdown, and Markdown to one self-contained HTML file."""

import base64
import math
import re
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from PIL import Image

from denoiselab.models import metadata
from denoiselab.noise.describe import in_words
from denoiselab.runtime import paths, sanitize

WIDE = 640  # pixels: figures that scroll sideways on a phone
UNITS = {  # decimals and factor of a score in tables (PSNR in dB, MSE times 1000, noise levels of 255)
    "psnr": (2, 1),
    "ssim": (4, 1),
    "mse": (3, 1000),
    "lpips": (4, 1),
    "held_out": (3, 1),
    "sigma_255_left": (1, 1),
    "residual_correlation": (3, 1),
    "structure": (3, 1),
}


def render(template: str, context: dict[str, Any]) -> str:
    """A template of templates/, rendered."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("denoiselab.report"),
        autoescape=jinja2.select_autoescape(["html", "html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["classical"] = metadata.CLASSICAL.__contains__
    environment.filters["cell"] = _cell
    environment.filters["spec"] = in_words
    environment.filters["plain"] = sanitize.markdown  # for file names and other untrusted text
    environment.tests["nan"] = math.isnan
    return environment.get_template(template).render(context)


def page(text: str, slider: list[dict[str, Any]] | None = None) -> str:
    """Markdown as one self-contained HTML file: figures become data URIs, headings a table of contents.

    Blocks fenced as `slider` become the comparison slider of these images (slider_images.encode); what is between a
    block fenced as `fold`, with a title in Markdown, and one fenced as `end` is folded below the title.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    sections = _add_ids(tokens)
    for token in tokens:
        _inline_figures(token)
        kind, _, name = token.info.partition(" ") if token.type == "fence" else ("", "", "")
        if kind in ("slider", "fold", "end"):
            token.type = "html_block"
        if kind == "slider":
            token.content = render("slider.html.j2", {"images": slider})
        elif kind == "fold":
            title = markdown.renderInline(token.content.strip())
            token.content = f'<details class="{name or "more"}">\n<summary>{title}</summary>\n'
        elif kind == "end":
            token.content = "</details>\n"
    first = next((n for n, token in enumerate(tokens) if token.tag == "h2"), len(tokens))
    lead, body = (_html(markdown, part) for part in (tokens[:first], tokens[first:]))
    title = text.partition("\n")[0].removeprefix("# ")
    return render("report_page.html.j2", {"title": title, "sections": sections, "lead": lead, "body": body})


def _add_ids(tokens: list[Token]) -> list[tuple[str, str]]:
    """Give every heading a unique id; returns (id, text) of those of level two."""
    sections: dict[str, str] = {}
    seen: set[str] = set()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or [])
            stem = re.sub(r"\W+", "-", text.lower()).strip("-") or "section"
            name = next(name for name in chain([stem], (f"{stem}-{n}" for n in count(2))) if name not in seen)
            seen.add(name)
            opening.attrSet("id", name)
            if opening.tag == "h2":
                sections[name] = text
    return list(sections.items())


def _inline_figures(token: Token) -> None:
    """Figures as data URIs; wide ones, except plots, get a class and their natural width."""
    for image in (child for child in token.children or [] if child.type == "image"):
        path = _file(str(image.attrGet("src")))
        if path.suffix != ".svg" and (width := _width(path)) > WIDE:
            image.attrSet("class", "wide")
            image.attrSet("style", f"--natural: {width}px")
        image.attrSet("src", _data_uri(path))


def _html(markdown: MarkdownIt, tokens: list[Token]) -> Markup:
    """HTML with tables in scroll boxes, alarms marked by class, and rows of figures."""
    html = str(markdown.renderer.render(tokens, markdown.options, {}))
    html = html.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    html = html.replace("<blockquote>\n<p><strong>Alarm: ", '<blockquote class="alarm">\n<p><strong>Alarm: ')
    html = re.sub(r"<p>((?:<img [^>]*/>\s*){2,})</p>", r'<p class="row">\1</p>', html)
    return Markup(html)


def address(figure: Path) -> str:
    """A figure's address in the report; names of test sets may have characters that Markdown does not allow there."""
    return quote(figure.relative_to(paths.REPORT_MD.parent).as_posix(), safe="/+,=@")


def _file(path: str) -> Path:
    """A figure of the report, by its address there."""
    file = paths.REPORT_MD.parent / unquote(path)
    assert file.resolve().is_relative_to(paths.REPORT_MD.parent.resolve()), path
    return file


def _width(file: Path) -> int:
    with Image.open(file) as image:
        return image.width


def _data_uri(file: Path) -> str:
    kind = "svg+xml" if file.suffix == ".svg" else file.suffix[1:]
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _cell(row: dict[str, Any], score: str) -> str:
    """A mean with its interval (none for a single image), in the units of the tables."""
    digits, scale = UNITS[score]
    mean, low, high = (f"{scale * row[f'{score}_{part}']:.{digits}f}" for part in ("mean", "low", "high"))
    return mean.replace("nan", "–") if low == "nan" else f"{mean} [{low}, {high}]"
