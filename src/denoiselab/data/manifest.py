"""data/raw/manifest.csv: what was fetched, a row an image."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from denoiselab import files


@dataclass(frozen=True)
class Source:
    """An image as its data set offers it."""

    image: str  # id, unique in the data set
    split: str  # train, val or test
    label: str  # class, or empty
    file: Path


@dataclass(frozen=True)
class Row:
    """An image as it was stored."""

    image: str
    split: str
    label: str
    path: str  # relative to the manifest
    sha256: str  # of the decoded pixels, see images.pixel_hash
    width: int
    height: int


def write(folder: Path, rows: list[Row]) -> None:
    """Write manifest.csv into `folder`."""
    files.write_csv(folder / "manifest.csv", [f.name for f in fields(Row)], map(asdict, rows))


def read(folder: Path, split: str | None = None) -> list[Row]:
    """The rows of `folder`/manifest.csv, of one split or all. ValueError where it cannot be read."""
    path = folder / "manifest.csv"
    try:
        rows = [_row(**columns) for columns in files.read_csv(path)]
    except TypeError as error:
        raise ValueError(f"{path}: cannot be read as a manifest: {error}") from None
    return [row for row in rows if split in (None, row.split)]


def _row(*, width: str, height: str, **texts: str) -> Row:
    return Row(**texts, width=int(width), height=int(height))
