"""Templates into text: Markdown, and the same Markdown as one HTML file."""

import base64
import re
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from denoiselab import paths


def render(template: str, context: dict[str, Any]) -> str:
    """A template of templates/ as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("denoiselab"),
        autoescape=jinja2.select_autoescape(["html", "html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["spec"] = in_words
    return environment.get_template(template).render(context)


def page(text: str) -> str:
    """The report as one HTML file that needs no network: figures become data URIs."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r'src="([^"]+)"', lambda match: f'src="{_data_uri(match[1])}"', body)
    for sign, kind in {"🔴": "alarm", "🟡": "warning"}.items():
        body = body.replace(f"<blockquote>\n<p>{sign}", f'<blockquote class="{kind}">\n<p>{sign}')
    title = text.partition("\n")[0].removeprefix("# ")
    return render("page.html.j2", {"title": title, "body": Markup(body)})


def _data_uri(path: str) -> str:
    return (
        f"data:image/{path.rpartition('.')[2]};base64,"
        + base64.b64encode((paths.REPORT_MD.parent / path).read_bytes()).decode()
    )


def _cell(row: dict[str, Any], score: str) -> str:
    """A mean with its interval (one image has none), in the units of the tables: dB, SSIM, MSE times 1000, LPIPS."""
    digits, scale = {"psnr": (2, 1), "ssim": (4, 1), "mse": (3, 1000), "lpips": (4, 1)}[score]
    mean, low, high = (f"{scale * row[f'{score}_{part}']:.{digits}f}" for part in ("mean", "low", "high"))
    return mean if low == "nan" else f"{mean} [{low}, {high}]"


def in_words(spec: dict[str, Any]) -> str:
    """A noise spec in words."""
    own = {k: v for k, v in spec.items() if k not in ("kind", "clip", "quantise")}
    if spec["kind"] == "chain":
        return " then ".join(in_words(step) for step in own["steps"])
    if spec["kind"] == "sometimes":
        return f"with probability {own['p']:g} {in_words(own['noise'])}"
    values = [f"{k.replace('_255', ' of 255').replace('_', ' ')} {_value(v)}" for k, v in own.items()]
    ending = {(False, False): "not clipped", (True, False): "clipped", (True, True): "clipped, 8 bits"}
    values.append(ending.get((spec["clip"], spec["quantise"]), "8-bit steps"))
    return f"{spec['kind'].replace('_', '-')} ({', '.join(values)})"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{value[0]:g} to {value[1]:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
