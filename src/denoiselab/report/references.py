"""BibTeX of the data sets, models and published methods of a report, selected from references.bib."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from denoiselab.comparison.published_results import Published
from denoiselab.config import Params

FILE = Path(__file__).with_name("references.bib")
ENTRY = re.compile(r"^@\w+\{(?P<key>[^,]+),\n.*?^  keywords = \{(?P<names>[^}]*)\},\n\}$", re.MULTILINE | re.DOTALL)
KEYWORDS = re.compile(r"^  keywords = .*\n", re.MULTILINE)
PROJECT = "denoiselab"


def keys(*names: str) -> list[str]:
    """Keys of the entries for these names, in the order of the file; a name may have several or none."""
    return [match["key"] for match in _entries() if _named(match) & {*names}]


def of_model(params: Params, model: str) -> list[str]:
    """Keys for a model: its architecture, or its classical method."""
    block = params.models[model].architecture()
    return keys(str(block.get("method", block["arch"])))


def used(params: Params, sources: Iterable[str], published: Iterable[Published]) -> str:
    """BibTeX of this project, the data sources, the models and the published methods."""
    chosen = {*keys(PROJECT, *sources, *(one.method for one in published))}
    chosen |= {key for model in params.models for key in of_model(params, model)}
    return "\n\n".join(KEYWORDS.sub("", match[0]) for match in _entries() if match["key"] in chosen) + "\n"


def _entries() -> list[re.Match[str]]:
    return list(ENTRY.finditer(FILE.read_text(encoding="utf-8")))


def _named(match: re.Match[str]) -> set[Any]:
    return {name.strip() for name in match["names"].split(",")}
