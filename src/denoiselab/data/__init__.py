"""Data sets behind one call: a reader lists its images by split, `fetch` decodes, checks and stores them.

To add a data set: a module here with `images(data) -> list[Source]`, its line in READERS, its
parameters in config.py and a file in conf/data/.
"""

import hashlib
import importlib
import re
import shutil
from pathlib import Path

from denoiselab import images
from denoiselab.config import Data
from denoiselab.data.manifest import Row, Source, write

READERS = {
    "embedded": "denoiselab.data.embedded",
    "folder": "denoiselab.data.folder",
}

SMALLEST = 16  # pixels; the window of the SSIM has 11


def fetch(data: Data, out: Path) -> list[Row]:
    """Decode every image of a data set into `out` as 8-bit PNG, with its manifest.csv.

    ValueError names the file and the reason: an image that cannot be read, a split without images,
    the same pixels in two splits.
    """
    sources = importlib.import_module(READERS[data.name]).images(data)
    for split in ("train", "val", "test"):
        if not any(source.split == split for source in sources):
            raise ValueError(f"data {data.name}: no image in the {split} split")
    shutil.rmtree(out, ignore_errors=True)
    rows = [_store(source, data.channels, out) for source in sources]
    _refuse_leaks(rows)
    write(out, rows)
    return rows


def _store(source: Source, channels: int, out: Path) -> Row:
    pixels = images.read(source.file, channels)
    relative = f"{source.split}/{_slug(source.image)}.png"
    images.write_png(out / relative, pixels)
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(f"{source.file}: {width}x{height} is too small; {SMALLEST} pixels a side are needed")
    return Row(source.image, source.split, source.label, relative, images.pixel_hash(pixels), width, height)


def _slug(image: str) -> str:
    """A file name for an image id: readable, and unique even where two ids differ in odd characters alone."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", image).strip("_")
    return plain if plain == image else f"{plain[:80]}-{hashlib.sha256(image.encode()).hexdigest()[:8]}"


def _refuse_leaks(rows: list[Row]) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row.sha256, row)
        if other.split != row.split:
            raise ValueError(
                f"leak: {other.image} ({other.split}) and {row.image} ({row.split}) have identical pixels; "
                "remove one of them"
            )
