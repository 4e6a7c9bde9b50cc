"""data/raw/manifest.csv and dataset.json: what was fetched, a row an image, and where it came from."""

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from denoiselab.imaging import arrays, dataset_images
from denoiselab.runtime import files, sealed_json
from denoiselab.runtime.errors import UserError

SPLITS = ("train", "val", "test")
KIND = sealed_json.Kind(range(1, 3), sealed=2)  # of dataset.json, which speaks for the manifest, too
MANIFEST = "manifest.csv"
REMEDY = "run `dvc repro -f fetch`"
SIDE = re.compile(r"[1-9][0-9]{0,8}")  # pixels


@dataclass(frozen=True)
class Source:
    """An image as its data set offers it."""

    image: str  # id, unique in the data set
    split: str  # train, val or test
    label: str  # class, or empty
    file: Path  # read, or named where `pixels` are given
    group: str = ""  # images of one group (a scene) are not independent; none: the image is one of its own
    sets: tuple[str, ...] = ()  # the named test sets it belongs to; none: a test image is in that of its source's name
    noisy: Path | None = None  # the real noisy photograph of `file`
    crop: tuple[int, int, int, int] | None = None  # top, left, height, width
    pixels: np.ndarray | None = None  # (H, W, C) uint8, from a file that holds many images
    source: str = ""  # key in dataset.json


@dataclass(frozen=True)
class Row:
    """An image as it was stored."""

    image: str
    split: str
    label: str
    group: str  # images of one group resemble each other: a scene, or else the image itself
    sets: str  # separated by spaces
    path: str  # relative to the manifest
    noisy: str  # relative path of the real noisy photograph, or empty
    sha256: str  # of the decoded pixels, see images.pixel_hash
    noisy_sha256: str
    dhash: str  # 64 hex digits, see leaks.difference_hash
    width: int
    height: int
    source: str  # key of dataset.json's sources: address, licence, citation


def write(folder: Path, rows: list[Row], dataset: dict[str, Any] | None = None) -> None:
    """Write manifest.csv and dataset.json into `folder`."""
    files.write_csv(folder / MANIFEST, [f.name for f in fields(Row)], map(asdict, rows))
    KIND.write(folder / "dataset.json", {"files": sealed_json.digests([folder / MANIFEST]), **(dataset or {})})


def read(folder: Path, split: str | None = None) -> list[Row]:
    """The rows of `folder`/manifest.csv, of one split or all. ValueError where it is not what was written."""
    path = folder / MANIFEST
    sealed_json.verify(path, dataset(folder).get("files", {}).get(MANIFEST), REMEDY)
    try:
        rows = [_row(**columns) for columns in files.read_csv(path)]
    except (TypeError, _RowError) as error:
        raise UserError(f"{path}: cannot be read as a manifest: {error}") from None
    return [row for row in rows if split in (None, row.split)]


def dataset(folder: Path) -> dict[str, Any]:
    """dataset.json: sources with address, licence and citation, leaks, what was left out. ValueError where it is not
    what was written, or of another format."""
    return KIND.read(folder / "dataset.json", REMEDY)


def pixels(folder: Path, row: Row, channels: int, *, noisy: bool = False) -> np.ndarray:
    """An image of `folder`, or its noisy photograph: uint8 (H, W), or (H, W, 3). ValueError where it is not what was
    fetched."""
    path, sha256 = (row.noisy, row.noisy_sha256) if noisy else (row.path, row.sha256)
    try:
        found = dataset_images.read(folder / path, channels)
    except ValueError as error:
        raise UserError(f"{error}; {REMEDY}") from None
    if sha256 and arrays.pixel_hash(found) != sha256:
        raise UserError(f"{folder / path}: differs from what was fetched; {REMEDY}")
    return found


class _RowError(Exception):
    """Its text is the reason."""


def _row(*, width: str, height: str, **texts: str) -> Row:
    """TypeError or _RowError where it is none, or names a file that is outside of the manifest's folder."""
    if None in (width, height, *texts.values()):
        raise _RowError("a row is too short")
    if not (SIDE.fullmatch(width) and SIDE.fullmatch(height)):
        raise _RowError(f"{width[:20]!r} x {height[:20]!r} is no size")
    row = Row(**texts, width=int(width), height=int(height))
    if row.split not in SPLITS:
        raise _RowError(f"{row.split!r} is no split")
    for name in (row.path, row.noisy):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name.isprintable():
            raise _RowError(f"{name!r} is no file below its folder")
    return row
