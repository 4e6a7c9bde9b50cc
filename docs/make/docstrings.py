"""Escape `<` in docstrings, so that the site does not take `<name>` for an HTML tag."""

import re
from typing import Any

import griffe

CODE = re.compile(r"(`+[^`]*`+)")


class Shown(griffe.Extension):
    """Extension of Griffe, the parser of mkdocstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = escaped(obj.docstring.value)


def escaped(text: str) -> str:
    """The text with < as an entity, except in code."""
    parts = CODE.split(text)
    return "".join(part if CODE.fullmatch(part) else part.replace("<", "&lt;") for part in parts)
