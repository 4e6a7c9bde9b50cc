"""Options and checks shared by the subcommands."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from denoiselab.runtime.errors import UserError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quality = Annotated[str, typer.Option(help="Size of the released weights: fast or best.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing files.")]


def model_names(begun: str) -> list[str]:
    """Names and paths of models that begin with `begun`, for the shell's completion."""
    from denoiselab.app import denoisers

    return [entry.name for entry in (*denoisers.known(), *denoisers.trained()) if entry.name.startswith(begun)]


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Name (see denoiselab models), path such as models/unet, or models:/name@alias.",
        autocompletion=model_names,
    ),
]


def check_free(path: Path, force: bool) -> None:
    """UserError if `path` is a folder, exists already (unless `force`) or cannot be written."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file name")
    if path.exists() and not force:
        raise UserError(f"{path}: already exists; use --force to overwrite it")
    check_writable(path)


def check_writable(path: Path) -> None:
    """UserError if no file can be created at `path`: its nearest existing parent is a file or write-protected."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise UserError(f"{path}: cannot be written: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written: no write permission in {nearest}")


def need(command: str, extra: str, *packages: str) -> None:
    """UserError if packages of this extra, which only the command needs, are not installed."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise UserError(f"denoiselab {command} needs {', '.join(missing)}: pip install 'denoiselab[{extra}]'")
