"""Plan a batch: find the image files, and name their outputs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from denoiselab.imaging import decoders, encoders, photos
from denoiselab.runtime.errors import UserError

GLOB = "*?["
WRITTEN_AS = dict.fromkeys((".stk", ".lsm", *decoders.RAW_SUFFIXES), ".tif")  # others: PNG


@dataclass(frozen=True)
class Task:
    """An image file and the output file."""

    source: Path
    target: Path


def tasks(sources: Sequence[str], output: str, *, form: str = "", suffix: str = "") -> list[Task]:
    """Tasks for files, folders and glob patterns, in order, each file once.

    In a folder, outputs are named like their sources, with `suffix` before the file suffix, which is that of the format
    `form`, such as "tif", or of the source; formats that are only read become PNG or TIFF.

    The folder structure is kept below `output`. Hidden files are left out, and so are files in an `output` that lies
    within the searched folder. A single file is written to the file `output`, unless that is a folder, ends in a slash
    or has no suffix. UserError if no image is found, if `output` is a file or named like one but there are several
    images, or if an output would overwrite its source or another output.
    """
    found = _found(sources, Path(output))
    target = Path(output)
    single = len(sources) == 1 and Path(sources[0]).is_file()
    if single and not (target.is_dir() or output.endswith(("/", os.sep)) or not target.suffix):
        planned = [Task(next(iter(found)), target)]
    elif target.is_file():
        raise UserError(f"{output}: is a file; several images need a folder as output")
    elif not target.is_dir() and not output.endswith(("/", os.sep)) and target.suffix.lower() in encoders.FORMATS:
        raise UserError(f"{output}: is named like a file; several images need a folder as output, such as {output}/")
    else:
        planned = [Task(*pair) for pair in zip(found, _named([*found.values()], target, form, suffix), strict=True)]
    _check(planned)
    return planned


def image_files(sources: Sequence[str]) -> list[Path]:
    """Image files given by files, folders and glob patterns. UserError if there are none."""
    return list(_found(sources, None))


def ignored(sources: Sequence[str], output: str) -> list[Path]:
    """Files in folders and glob patterns that `tasks` leaves out because of their suffix."""
    found = {file: None for text in sources for file, _ in _expanded(text, Path(output)) if not Path(text).is_file()}
    return [file for file in found if not _is_image(file.name)]


def _named(relatives: list[Path], folder: Path, form: str, suffix: str) -> list[Path]:
    """Output files, all different where formats that are only read get another suffix."""
    if form and f".{form}" not in encoders.FORMATS:
        raise UserError(f"--format: unknown format {form!r}; choose from: {', '.join(s[1:] for s in encoders.FORMATS)}")
    written = [(path, f".{form}" if form else _written_as(path.suffix)) for path in relatives]
    kept = {path.with_name(f"{path.stem}{suffix}{end}") for path, end in written if end == path.suffix}
    targets = []
    for path, end in written:
        target = path.with_name(f"{path.stem}{suffix}{end}")
        if end != path.suffix and target in kept:
            target = path.with_name(f"{path.name}{suffix}{end}")  # a.gif beside a.png
        kept.add(target)
        targets.append(folder / target)
    return targets


def _written_as(suffix: str) -> str:
    """Suffix of the output for a source of that suffix."""
    return suffix if suffix.lower() in encoders.FORMATS else WRITTEN_AS.get(suffix.lower(), ".png")


def _found(sources: Sequence[str], output: Path | None) -> dict[Path, Path]:
    """{file: its path relative to the output folder}."""
    found = {
        file: relative
        for text in sources
        for file, relative in _expanded(text, output)
        if _is_image(file.name) or Path(text).is_file()
    }
    if not found:
        supported = ", ".join(suffix.removeprefix(".") for suffix in photos.SUFFIXES)
        raise UserError(f"{', '.join(sources)}: no images found; supported: {supported}")
    return found


def _expanded(text: str, output: Path | None) -> Iterator[tuple[Path, Path]]:
    """(file, its path relative to the output folder) of a file, or of the visible files of a folder or pattern."""
    path = Path(text)
    if path.is_file():
        yield path, Path(path.name)
    elif path.is_dir():
        yield from ((file, file.relative_to(path)) for file in _below(path, output))
    elif any(sign in text for sign in GLOB):
        fixed = [*_until_glob(path.parts)]
        base = Path(*fixed)
        excluded = output.resolve() if output and base.resolve() in output.resolve().parents else None
        try:
            matches = sorted(base.glob(str(Path(*path.parts[len(fixed) :]))))
        except ValueError as error:  # such as **.png before Python 3.13
            raise UserError(f"{text}: {error}") from None
        for file in matches:
            if file.is_file() and not file.name.startswith(".") and excluded not in file.resolve().parents:
                yield file, file.relative_to(base)
    else:
        raise UserError(f"{text}: no such file or folder")


def _until_glob(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if any(sign in part for sign in GLOB):
            return
        yield part


def _below(folder: Path, output: Path | None) -> Iterator[Path]:
    """Visible files in a folder, sorted; links to folders are not followed."""
    excluded = output.resolve() if output else None
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and (Path(place) / n).resolve() != excluded)
        paths = (Path(place) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())  # no pipes


def _is_image(name: str) -> bool:
    return name.lower().endswith((*photos.SUFFIXES, *decoders.RAW_SUFFIXES))


def _check(planned: Sequence[Task]) -> None:
    sources: dict[Path, Path] = {}
    for task in planned:
        target = task.target.resolve()
        if target == task.source.resolve():
            raise UserError(f"{task.source}: would be overwritten by the output; choose another one")
        if target in sources:
            raise UserError(f"{sources[target]} and {task.source} would both be written to {task.target}")
        sources[target] = task.source
