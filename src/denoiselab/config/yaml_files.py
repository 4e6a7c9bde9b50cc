"""Generated files in conf/model/: results of a hyper-parameter search, released weights."""

from pathlib import Path
from typing import Any

import yaml

from denoiselab.config.base import parse
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError


def write(path: Path, name: str, comment: str, block: dict[str, Any]) -> None:
    """Write the entry `name` of params.models to a file in conf/model/, below a comment line."""
    files.write_text(path, text(name, comment, block))


def text(name: str, comment: str, block: dict[str, Any]) -> str:
    """The text of such a file."""
    return f"# @package models.{name}\n# {comment}\n" + yaml.dump(block, Dumper=_Indented, sort_keys=False)


def read(path: Path) -> dict[str, Any]:
    """Block in such a file. UserError if it is missing or invalid."""
    try:
        block = parse(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(block, dict):
        raise UserError(f"{path}: not a block of a model")
    return block


class _Indented(yaml.SafeDumper):
    """Indents lists below their key, as in the rest of conf/."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
