"""Real noisy/clean pairs of hair close-ups, listed in labels.csv (columns input, target)."""

import csv
from pathlib import Path

from denoiselab.config.data import Hair
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.runtime.errors import UserError


def images(data: Hair, sources: Sources) -> list[Source]:
    """The pairs in labels.csv. UserError names an invalid line or a missing image."""
    folder = sources.unpacked("hair", data.hair)
    tables = sorted(folder.rglob("labels.csv"))
    if len(tables) != 1:
        raise UserError(f"data hair: {data.hair.url} has {len(tables)} files labels.csv; exactly one is needed")
    root = tables[0].parent
    try:
        with tables[0].open(newline="", encoding="utf-8-sig") as handle:
            lines = list(csv.DictReader(handle))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"data hair: labels.csv cannot be read: {error}") from None
    if not lines or not {"input", "target"} <= lines[0].keys():
        raise UserError("data hair: labels.csv must have the columns input and target, and one line per pair")
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    pairs: dict[str, dict[str, Path]] = {}
    for number, line in enumerate(lines, 2):
        pair = {}
        for column in ("input", "target"):
            name = line[column] or ""
            path = files.get(name) or files.get(f"{column}/{name}")
            if path is None:
                raise UserError(f"data hair: labels.csv, line {number}: {column} {name!r} is not in the archive")
            pair[column] = path
        if pairs.setdefault(line["input"], pair) != pair:
            raise UserError(f"data hair: labels.csv, line {number}: input {line['input']!r} has two targets")
    splits = by_share(pairs, data.split, data.seed, where=f"data hair: {data.hair.url}: pairs: ")
    return [
        Source(name, splits[name], "", pair["target"], noisy=pair["input"], source="hair")
        for name, pair in sorted(pairs.items())
    ]
