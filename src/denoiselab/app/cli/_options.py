"""What subcommands share: options, and what is checked of them."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from denoiselab.runtime.errors import UserError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, in place of text.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what is there.")]


def model_names(begun: str) -> list[str]:
    """Names and paths of models that begin with `begun`, for the shell's completion."""
    from denoiselab.app import denoisers

    return [entry.name for entry in (*denoisers.known(), *denoisers.trained()) if entry.name.startswith(begun)]


def check_free(path: Path, force: bool) -> None:
    """ValueError where there is a file already, or a folder, which nothing overwrites, or where none can be made."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    if path.exists() and not force:
        raise UserError(f"{path}: is there already; --force overwrites it")
    check_writable(path)


def check_writable(path: Path) -> None:
    """ValueError where no file can be made: the folder, or the nearest there is, is none or may not be changed."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise UserError(f"{path}: cannot be written: {nearest} is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written: no permission to write in {nearest}")


def need(command: str, *packages: str) -> None:
    """ValueError where packages are missing that only this command needs."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise UserError(f"denoiselab {command} needs {', '.join(missing)}: pip install {' '.join(missing)}")
