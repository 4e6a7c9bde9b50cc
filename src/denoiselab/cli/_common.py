"""What several commands share: options, and how they say what they found."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, in place of text.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def say(text: str, values: Any, as_json: bool) -> None:
    """Print `text`, or `values` as JSON."""
    print(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) if as_json else text)


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
