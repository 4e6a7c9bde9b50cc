"""What several commands share: options, and how they say what they found."""

import json
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, in place of text.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def model_names(begun: str) -> list[str]:
    """For the shell's completion: the models that there are, and that begin so."""
    from denoiselab import denoisers

    return [entry.name for entry in denoisers.known() if entry.name.startswith(begun)]


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


def pairs(source: Path, out: Path, suffixes: Collection[str], suffix: str | None = None) -> list[tuple[Path, Path]]:
    """Pictures to read and the files to write: of a file one, of a folder those of `suffixes`, by name.

    `suffix` is that of what is written; None: as it was read, or as `out` says. ValueError where `source` is missing or
    holds no picture, or where a picture would overwrite itself.
    """
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
        if not found:
            raise ValueError(f"{source}: has no pictures ({', '.join(suffixes)})")
        made = [(path, out / path.relative_to(source)) for path in found]
        if suffix:
            made = [(path, target.with_suffix(suffix)) for path, target in made]
    else:
        target = out / source.name if out.is_dir() else out
        made = [(source, target.with_suffix(suffix) if suffix and out.is_dir() else target)]
    for path, target in made:
        if path.resolve() == target.resolve():
            raise ValueError(f"{path}: OUT is IN itself; name another place")
    return made
