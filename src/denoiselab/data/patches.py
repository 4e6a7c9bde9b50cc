"""Training and validation patches: arrays (N, H, W, C) of the data's depth in .npy shards, with an index.

For real noisy/clean pairs, noisy-<shard>.npy holds the noisy patches that belong to <shard>.npy.
"""

import csv
import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from denoiselab.config import Patches
from denoiselab.data import manifest
from denoiselab.imaging import dataset_images, depths
from denoiselab.runtime import files, parallel, sealed_json
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.parallel import SERIAL, Parallel

INDEX = "index.csv"
RECORD = "patches.json"  # SHA-256 of all other files
KIND = sealed_json.Kind(range(2, 3), sealed=2)  # of patches.json, which format 1 lacks
REMEDY = "run `dvc repro -f patchify`"


@dataclass(frozen=True)
class Place:
    """Where a patch was cut from, and where it is stored."""

    split: str
    shard: str
    row: int  # in the shard
    image: str
    label: str
    scale: float
    y: int  # of the top left corner, in the scaled image
    x: int

    @property
    def id(self) -> str:
        """Id of the patch, independent of shards; seeds its noise."""
        return f"{self.image}@{self.scale:g}+{self.y}+{self.x}"


def cut(raw: Path, params: Patches, channels: int, out: Path, workers: Parallel = SERIAL) -> dict[str, int]:
    """Cut the training and validation images of `raw` into `out`, with index.csv; returns the patch count by split.

    Memory use is bounded: one image per worker, written in order. UserError names an image that is smaller than a
    patch, damaged or changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = {split: manifest.read(raw, split) for split in ("train", "val")}
    _check_sizes(rows["train"], params.size, "patches.size")
    _check_sizes(rows["val"], params.val_size, "patches.val_size")
    with files.atomic_write(out / INDEX) as path, path.open("w", newline="", encoding="utf-8") as handle:
        index = csv.DictWriter(handle, [f.name for f in fields(Place)], lineterminator="\n")
        index.writeheader()
        raw, paired = raw.absolute(), {split: all(row.noisy for row in images) for split, images in rows.items()}
        cutting = Cutting(raw, channels, paired["train"], params.size, params.stride, params.scales)
        train = _cut_split(rows["train"], cutting, params.shard_mib, out, index, workers)
        cutting = Cutting(raw, channels, paired["val"], params.val_size, params.val_size, [1.0])
        val = _cut_split(rows["val"], cutting, params.shard_mib, out, index, workers)
    KIND.write(out / RECORD, {"files": sealed_json.digests(sorted({out / INDEX, *out.glob("*.npy")}))})
    return {"train": train, "val": val}


def verify(folder: Path, split: str = "") -> str:
    """Verify the SHA-256 of the patches of one split, or of all; returns a digest of all patches.

    UserError names a file that is missing, damaged or of an unsupported format. Format 1 has no hashes to verify.
    """
    if not (folder / RECORD).exists():
        return files.sha256(folder)
    record = KIND.read(folder / RECORD, REMEDY)
    for name, sha256 in record["files"].items():
        if name == INDEX or split in name:
            sealed_json.verify(folder / name, sha256, REMEDY)
    return files.sha256(folder / RECORD)


def index(folder: Path, split: str) -> list[Place]:
    """Index entries of a split's patches, in order."""
    return [_place(**row) for row in files.read_csv(folder / INDEX) if row["split"] == split]


def labels(folder: Path, split: str) -> list[str]:
    """Class of every patch of `load`; empty strings for unlabelled data."""
    columns = files.read_columns(folder / INDEX, "split", "label")
    return [label for patch_split, label in columns if patch_split == split]


class Stack:
    """Memory-mapped shards as one array (N, H, W, C), read on access.

    Pickled as file names, so that worker processes map the files themselves.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)
        self.shards: list[np.ndarray] = [_mapped(path) for path in self.paths]
        *self.starts, rows = accumulate(map(len, self.shards), initial=0)  # index of each shard's first row
        self.shape: tuple[int, ...] = (rows, *self.shards[0].shape[1:])
        self.dtype = self.shards[0].dtype

    @property
    def white(self) -> int:
        return depths.white(self.dtype)

    @property
    def nbytes(self) -> int:
        return sum(shard.nbytes for shard in self.shards)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all patches in blocks: index of the first, and a copy (n, H, W, C)."""
        return ((start, np.array(shard)) for start, shard in zip(self.starts, self.shards, strict=True))

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, rows: int | np.integer[Any] | np.ndarray) -> np.ndarray:
        """For an index: the patch (H, W, C), a view of its file; for an array (n,) of indices: a copy (n, H, W, C)."""
        if isinstance(rows, np.ndarray):
            return np.stack([self[row] for row in rows.tolist()])
        if not 0 <= rows < len(self):
            raise IndexError(f"patch {rows} of {len(self)}")
        shard = bisect(self.starts, rows) - 1
        return self.shards[shard][rows - self.starts[shard]]

    def __reduce__(self) -> tuple[type["Stack"], tuple[list[Path]]]:
        return Stack, (self.paths,)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}; {REMEDY}") from None


def load(folder: Path, split: str) -> Stack:
    """All patches of a split. UserError if there are none or a shard cannot be read."""
    shards = sorted(folder.glob(f"{split}-*.npy"))
    if not shards:
        raise UserError(f"{folder}: no {split} patches; {REMEDY}")
    return Stack(shards)


def load_noisy(folder: Path, split: str) -> Stack | None:
    """Real noisy patches that belong to those of `load`; None for data without pairs."""
    shards = sorted(folder.glob(f"noisy-{split}-*.npy"))
    return Stack(shards) if shards else None


def _check_sizes(rows: list[manifest.Row], size: int, key: str) -> None:
    for row in rows:
        if min(row.width, row.height) < size:
            raise UserError(f"{row.image}: {row.width}x{row.height} is smaller than a patch ({key}: {size})")


@dataclass(frozen=True)
class Cutting:
    """How the images of one split are cut."""

    raw: Path
    channels: int
    paired: bool  # whether every image has a real noisy photograph
    size: int  # pixels
    stride: int  # pixels
    scales: list[float]

    def __call__(self, row: manifest.Row) -> list[list[np.ndarray]]:
        """Patches at each scale, of the image and, for pairs, of its noisy photograph."""
        return [self._windows(row, noisy) for noisy in ((False, True) if self.paired else (False,))]

    def count(self, row: manifest.Row) -> int:
        """Number of patches of an image."""
        return sum(_count(*_scaled(row, scale), self.size, self.stride) for scale in self.scales)

    def _windows(self, row: manifest.Row, noisy: bool) -> list[np.ndarray]:
        pixels = manifest.pixels(self.raw, row, self.channels, noisy=noisy)
        return [_windows(pixels, _scaled(row, scale), self.size, self.stride) for scale in self.scales]


def _cut_split(
    rows: list[manifest.Row],
    cutting: Cutting,
    shard_mib: int,
    out: Path,
    index: "csv.DictWriter[str]",
    workers: Parallel,
) -> int:
    """Cut the images of one split; returns the number of patches."""
    if not rows:
        return 0
    total = sum(map(cutting.count, rows))
    if not total:
        raise UserError(f"patches.scales: at {cutting.scales} no image is as large as a patch of {cutting.size} pixels")
    shape, dtype = (cutting.size, cutting.size, cutting.channels), manifest.dtype(cutting.raw)
    capacity = max(1, shard_mib * 2**20 // (math.prod(shape) * dtype.itemsize))
    names = [rows[0].split, f"noisy-{rows[0].split}"] if cutting.paired else [rows[0].split]
    with ExitStack() as stack:
        shards = [stack.enter_context(Shards(out, name, shape, dtype, capacity, total)) for name in names]
        for row, images in zip(rows, parallel.each(workers, cutting, rows), strict=True):
            for n, scale in enumerate(cutting.scales):
                index.writerows(_places(row, scale, images[0][n].shape[:2], cutting.stride, shards[0]))
                for shard, windows in zip(shards, images, strict=True):
                    shard.write(windows[n].reshape(-1, *shape))
    return total


class Shards:
    """Writes `total` arrays of one shape and type to <name>-00000.npy, -00001.npy, ..., at most `capacity` in each."""

    def __init__(self, out: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, capacity: int, total: int):
        self.out, self.name, self.capacity, self.total = out, name, capacity, total
        self.shape, self.dtype = shape, dtype
        self.written = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def place(self, number: int) -> tuple[str, int]:
        """Shard and row of the array with index `number`."""
        shard, row = divmod(number, self.capacity)
        return f"{self.name}-{shard:05d}", row

    def write(self, arrays: np.ndarray) -> None:
        """Append (n, *shape) arrays."""
        while len(arrays):
            shard, row = self.place(self.written)
            if row == 0:
                self._open(shard)
            assert self._file
            part = arrays[: self.capacity - row]
            self._file.write(np.ascontiguousarray(part, self.dtype).data)
            self.written += len(part)
            arrays = arrays[len(part) :]

    def _open(self, shard: str) -> None:
        if self._file:
            self._file.close()
        self._file = (self.out / f"{shard}.npy").open("wb")
        rows = min(self.capacity, self.total - self.written)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _windows(pixels: np.ndarray, size_wh: tuple[int, int], size: int, stride: int) -> np.ndarray:
    """All patches of an image resized to `size_wh`: a view (rows, columns, size, size, C)."""
    if min(size_wh) < size:
        return np.empty((0, 0, size, size, pixels.shape[2] if pixels.ndim == 3 else 1), pixels.dtype)
    scaled = dataset_images.resized(pixels, size_wh)
    scaled = scaled.reshape(*scaled.shape[:2], -1)
    windows = sliding_window_view(scaled, (size, size), axis=(0, 1))
    return windows[::stride, ::stride].transpose(0, 1, 3, 4, 2)


def _places(
    row: manifest.Row, scale: float, grid: tuple[int, ...], stride: int, shards: Shards
) -> Iterator[dict[str, Any]]:
    rows, columns = grid
    for n in range(rows * columns):
        shard, line = shards.place(shards.written + n)
        y, x = n // columns * stride, n % columns * stride
        yield asdict(Place(row.split, shard, line, row.image, row.label, scale, y, x))


def _scaled(row: manifest.Row, scale: float) -> tuple[int, int]:
    return int(row.width * scale), int(row.height * scale)


def _count(width: int, height: int, size: int, stride: int) -> int:
    """Number of patches in an image."""
    return max(0, (width - size) // stride + 1) * max(0, (height - size) // stride + 1)


def _place(*, row: str, scale: str, y: str, x: str, **texts: str) -> Place:
    return Place(**texts, row=int(row), scale=float(scale), y=int(y), x=int(x))
