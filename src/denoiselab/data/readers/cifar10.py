"""CIFAR-10 from its official binary archive: 32x32 colour images of ten classes, with its own test split."""

from pathlib import Path

import numpy as np

from denoiselab.config.data import Cifar10
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import hold_out
from denoiselab.runtime.errors import UserError

SIDE = 32
BATCHES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")
RECORD = 1 + 3 * SIDE * SIDE  # bytes: class, then the red, green and blue plane, row by row


def images(data: Cifar10, sources: Sources) -> list[Source]:
    """All images of the six batches. UserError names a missing or truncated file."""
    root = sources.unpacked("cifar10", data.cifar10, wanted=lambda name: name.endswith((".bin", "batches.meta.txt")))
    meta = next(root.rglob("batches.meta.txt"), None)
    if meta is None:
        raise UserError(f"data cifar10: batches.meta.txt is missing from {data.cifar10.url}")
    classes = meta.read_text(encoding="ascii", errors="replace").split()
    found = []
    for stem in BATCHES:
        path = meta.with_name(f"{stem}.bin")
        if not path.is_file():
            raise UserError(f"data cifar10: {path.name} is missing from {data.cifar10.url}")
        test = stem == "test_batch"
        for n, (label, pixels) in enumerate(_records(path, classes)):
            sets = ("CIFAR-10",) if test else ()
            name = f"{stem}/{n:05d}"
            split = "test" if test else "train"
            found.append(Source(name, split, label, path, sets=sets, pixels=pixels, source="cifar10"))
    return hold_out(found, lambda n: max(1, round(data.val_share * n)), data.seed)


def _records(path: Path, classes: list[str]) -> list[tuple[str, np.ndarray]]:
    """(class, (32, 32, 3) uint8) of every record."""
    raw = np.fromfile(path, np.uint8)
    if not len(raw) or len(raw) % RECORD:
        raise UserError(f"data cifar10: {path.name}: {len(raw)} bytes are not a multiple of the record size {RECORD}")
    records = raw.reshape(-1, RECORD)
    if records[:, 0].max() >= len(classes):
        raise UserError(f"data cifar10: {path.name}: class {records[:, 0].max()} is not in batches.meta.txt")
    images = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return [(classes[label], pixels) for label, pixels in zip(records[:, 0], images, strict=True)]
