"""Real noisy and clean close-ups of hair, as labels.csv (columns input, target) pairs them."""

import csv
from pathlib import Path

from denoiselab.config.data import Hair
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.runtime.errors import UserError


def images(data: Hair, sources: Sources) -> list[Source]:
    """The pairs of labels.csv. ValueError names a line that is not one, or an image that is missing."""
    folder = sources.unpacked("hair", data.hair)
    tables = sorted(folder.rglob("labels.csv"))
    if len(tables) != 1:
        raise UserError(f"data hair: {len(tables)} files labels.csv in {data.hair.url}; one is needed")
    root = tables[0].parent
    try:
        with tables[0].open(newline="", encoding="utf-8-sig") as handle:
            lines = list(csv.DictReader(handle))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"data hair: labels.csv cannot be read: {error}") from None
    if not lines or not {"input", "target"} <= lines[0].keys():
        raise UserError("data hair: labels.csv must have the columns input and target, and a line a pair")
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    pairs: dict[str, dict[str, Path]] = {}
    for number, line in enumerate(lines, 2):
        pair = {}
        for column in ("input", "target"):
            name = line[column] or ""
            place = files.get(name) or files.get(f"{column}/{name}")
            if place is None:
                raise UserError(f"data hair: labels.csv, line {number}: {column} {name!r} is not in the archive")
            pair[column] = place
        if pairs.setdefault(line["input"], pair) != pair:
            raise UserError(f"data hair: labels.csv, line {number}: input {line['input']!r} has two targets")
    places = by_share(pairs, data.split, data.seed, where=f"data hair: {data.hair.url}: pairs: ")
    return [
        Source(name, places[name], "", pair["target"], noisy=pair["input"], source="hair")
        for name, pair in sorted(pairs.items())
    ]
