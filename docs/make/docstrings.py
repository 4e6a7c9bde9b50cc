"""Docstrings as the site shows them: `<name>` in their text is a text, not a tag of HTML."""

import re
from typing import Any

import griffe

CODE = re.compile(r"(`+[^`]*`+)")


class Shown(griffe.Extension):
    """An extension of Griffe, which reads the code for mkdocstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = escaped(obj.docstring.value)


def escaped(text: str) -> str:
    """The text with < as an entity, but in code."""
    parts = CODE.split(text)
    return "".join(part if CODE.fullmatch(part) else part.replace("<", "&lt;") for part in parts)
