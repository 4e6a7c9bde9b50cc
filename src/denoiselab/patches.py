"""Cut training and validation images into patches: uint8 arrays (N, H, W, C) in shards, with an index."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from denoiselab import files, images
from denoiselab.config import Patches
from denoiselab.data import manifest


@dataclass(frozen=True)
class Place:
    """Where a patch was cut."""

    split: str
    shard: str
    row: int  # in the shard
    image: str
    label: str
    scale: float
    y: int  # of the upper left corner, in the scaled image
    x: int

    @property
    def id(self) -> str:
        """Names the patch whatever shard it is in: keys its stored noise."""
        return f"{self.image}@{self.scale:g}+{self.y}+{self.x}"


def cut(raw: Path, params: Patches, channels: int, out: Path) -> list[Place]:
    """Cut the train and val images of `raw` into `out`; the places are also written to index.csv.

    Memory stays flat: shards are written through a memory map, one image at a time.
    ValueError names an image that is smaller than a patch.
    """
    out.mkdir(parents=True, exist_ok=True)
    places: list[Place] = []
    places += _cut_split(raw, "train", params.size, params.stride, params.scales, params.shard_mib, channels, out)
    places += _cut_split(raw, "val", params.val_size, params.val_size, [1.0], params.shard_mib, channels, out)
    files.write_csv(out / "index.csv", [f.name for f in fields(Place)], map(asdict, places))
    return places


def index(folder: Path, split: str) -> list[Place]:
    """The places of one split's patches, in order."""
    return [_place(**row) for row in files.read_csv(folder / "index.csv") if row["split"] == split]


def load(folder: Path, split: str) -> np.ndarray:
    """All patches of a split, (N, H, W, C) uint8; memory-mapped where they are one shard."""
    shards = [np.load(path, mmap_mode="r") for path in sorted(folder.glob(f"{split}-*.npy"))]
    return shards[0] if len(shards) == 1 else np.concatenate(shards)


def _cut_split(
    raw: Path, split: str, size: int, stride: int, scales: list[float], shard_mib: int, channels: int, out: Path
) -> list[Place]:
    rows = manifest.read(raw, split)
    total = sum(len(_grid(*_scaled(row, scale), size, stride)) for row in rows for scale in scales)
    capacity = max(1, shard_mib * 2**20 // (size * size * channels))
    places: list[Place] = []
    shard = np.empty(0)
    for row in rows:
        if min(row.width, row.height) < size:
            key = "patches.size" if split == "train" else "patches.val_size"
            raise ValueError(f"{row.image}: {row.width}x{row.height} is smaller than a patch ({key}: {size})")
        pixels = Image.fromarray(images.read(raw / row.path, channels))
        for scale in scales:
            width, height = _scaled(row, scale)
            scaled = np.asarray(pixels if scale == 1 else pixels.resize((width, height), Image.Resampling.BICUBIC))
            for y, x in _grid(width, height, size, stride):
                number, line = divmod(len(places), capacity)
                name = f"{split}-{number:05d}"
                if line == 0:
                    shape = (min(capacity, total - len(places)), size, size, channels)
                    shard = np.lib.format.open_memmap(out / f"{name}.npy", "w+", np.uint8, shape)
                shard[line] = scaled[y : y + size, x : x + size].reshape(size, size, channels)
                places.append(Place(split, name, line, row.image, row.label, scale, y, x))
    return places


def _scaled(row: manifest.Row, scale: float) -> tuple[int, int]:
    return int(row.width * scale), int(row.height * scale)


def _grid(width: int, height: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Upper left corners (y, x) of the patches that fit."""
    return [(y, x) for y in range(0, height - size + 1, stride) for x in range(0, width - size + 1, stride)]


def _place(*, row: str, scale: str, y: str, x: str, **texts: str) -> Place:
    return Place(**texts, row=int(row), scale=float(scale), y=int(y), x=int(x))
