"""Manifest of the fetched images: data/raw/manifest.csv (one row per image) and dataset.json (sources, leaks)."""

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from denoiselab.imaging import arrays, dataset_images, depths
from denoiselab.runtime import files, sealed_json
from denoiselab.runtime.errors import UserError

SPLITS = ("train", "val", "test")
KIND = sealed_json.Kind(range(1, 3), sealed=2)  # dataset.json, with the hash of the manifest
MANIFEST = "manifest.csv"
REMEDY = "run `dvc repro -f fetch`"
SIDE = re.compile(r"[1-9][0-9]{0,8}")  # pixels


@dataclass(frozen=True)
class Source:
    """An image of a data set, before decoding."""

    image: str  # id, unique in the data set
    split: str  # train, val or test
    label: str  # class, or empty
    file: Path  # image file, or the container of `pixels`
    group: str = ""  # images of one group (scene) are not independent; empty: a group of its own
    sets: tuple[str, ...] = ()  # named test sets; empty: test images belong to the set named like their source
    noisy: Path | None = None  # real noisy photograph that belongs to `file`
    crop: tuple[int, int, int, int] | None = None  # top, left, height, width
    pixels: np.ndarray | None = None  # (H, W, C) uint8, from a file with many images
    source: str = ""  # key in dataset.json
    page: int | None = None  # of a stack, from 0


@dataclass(frozen=True)
class Row:
    """A stored image."""

    image: str
    split: str
    label: str
    group: str  # scene (its images are not independent), or the image itself
    sets: str  # separated by spaces
    path: str  # relative to the manifest
    noisy: str  # relative path of the real noisy photograph, or empty
    sha256: str  # of the decoded pixels, see imaging.arrays.pixel_hash
    noisy_sha256: str
    dhash: str  # 64 hex digits, see leaks.difference_hash
    width: int
    height: int
    source: str  # key of `sources` in dataset.json: address, licence, citation


def write(folder: Path, rows: list[Row], dataset: dict[str, Any] | None = None) -> None:
    """Write manifest.csv and dataset.json into `folder`."""
    files.write_csv(folder / MANIFEST, [f.name for f in fields(Row)], map(asdict, rows))
    KIND.write(folder / "dataset.json", {"files": sealed_json.digests([folder / MANIFEST]), **(dataset or {})})


def read(folder: Path, split: str | None = None) -> list[Row]:
    """Rows of `folder`/manifest.csv, of one split or all. UserError if it is missing, damaged or changed."""
    path = folder / MANIFEST
    sealed_json.verify(path, dataset(folder).get("files", {}).get(MANIFEST), REMEDY)
    try:
        rows = [_row(**columns) for columns in files.read_csv(path)]
    except (TypeError, _RowError) as error:
        raise UserError(f"{path}: cannot be read as a manifest: {error}") from None
    return [row for row in rows if split in (None, row.split)]


def dataset(folder: Path) -> dict[str, Any]:
    """dataset.json: sources with address, licence and citation; leaks; excluded images. UserError if it is missing,
    damaged, changed or of an unsupported format."""
    return KIND.read(folder / "dataset.json", REMEDY)


def dtype(folder: Path) -> np.dtype:
    """The type of the images of `folder`: uint8, unless dataset.json states another depth."""
    return depths.DTYPES[dataset(folder).get("depth", 8)]


def pixels(folder: Path, row: Row, channels: int, *, noisy: bool = False) -> np.ndarray:
    """An image of `folder`, or its real noisy photograph: (H, W) or (H, W, 3) of `dtype`. UserError if missing, damaged
    or changed."""
    path, sha256 = (row.noisy, row.noisy_sha256) if noisy else (row.path, row.sha256)
    try:
        decoded = dataset_images.read_stored(folder / path, channels)
    except ValueError as error:
        raise UserError(f"{error}; {REMEDY}") from None
    if sha256 and arrays.pixel_hash(decoded) != sha256:
        raise UserError(f"{folder / path}: differs from what was fetched; {REMEDY}")
    return decoded


class _RowError(Exception):
    """Its text is the reason."""


def _row(*, width: str, height: str, **texts: str) -> Row:
    """TypeError or _RowError for an invalid row, such as a path outside the manifest's folder."""
    if None in (width, height, *texts.values()):
        raise _RowError("a row has too few columns")
    if not (SIDE.fullmatch(width) and SIDE.fullmatch(height)):
        raise _RowError(f"{width[:20]!r} x {height[:20]!r} is not a size")
    row = Row(**texts, width=int(width), height=int(height))
    if row.split not in SPLITS:
        raise _RowError(f"{row.split!r} is not a split")
    for name in (row.path, row.noisy):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name.isprintable():
            raise _RowError(f"{name!r} is not a file below its folder")
    return row
