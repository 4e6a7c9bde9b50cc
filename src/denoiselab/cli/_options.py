"""What subcommands share: options, and what is checked of them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, in place of text.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what is there.")]


def model_names(begun: str) -> list[str]:
    """For the shell's completion: the models that there are, and that begin so."""
    from denoiselab import denoisers

    return [entry.name for entry in denoisers.known() if entry.name.startswith(begun)]


def check_free(path: Path, force: bool) -> None:
    """ValueError where there is a file already, or a folder, which nothing overwrites."""
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file")
    if path.exists() and not force:
        raise ValueError(f"{path}: is there already; --force overwrites it")


def need(command: str, *packages: str) -> None:
    """ValueError where packages are missing that only this command needs."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ValueError(f"denoiselab {command} needs {', '.join(missing)}: pip install {' '.join(missing)}")
