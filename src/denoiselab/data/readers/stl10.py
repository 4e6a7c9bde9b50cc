"""STL-10 from its official binary archive: 96x96 colour images of ten classes, without the 100,000 unlabelled ones."""

from pathlib import Path

import numpy as np

from denoiselab.config.data import Stl10
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import hold_out
from denoiselab.runtime.errors import UserError

SIDE = 96
WANTED = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt")


def images(data: Stl10, sources: Sources) -> list[Source]:
    """All images of train_X.bin and test_X.bin. UserError names a missing or truncated file."""
    folder = sources.unpacked("stl10", data.stl10, wanted=lambda name: name.endswith(WANTED))
    names = next(folder.rglob("class_names.txt"), None)
    if names is None:
        raise UserError(f"data stl10: class_names.txt is missing from {data.stl10.url}")
    classes = names.read_text(encoding="ascii", errors="replace").split()
    found = []
    for split in ("train", "test"):
        path = names.with_name(f"{split}_X.bin")
        for n, (label, pixels) in enumerate(_records(path, names.with_name(f"{split}_y.bin"), classes)):
            sets = ("STL-10",) if split == "test" else ()
            found.append(Source(f"{split}/{n:05d}", split, label, path, sets=sets, pixels=pixels, source="stl10"))
    return hold_out(found, lambda n: max(1, round(data.val_share * n)), data.seed)


def _records(images: Path, labels: Path, classes: list[str]) -> list[tuple[str, np.ndarray]]:
    """(class, (96, 96, 3) uint8) of every image; planes are stored column by column, classes are numbered from 1."""
    for path in (images, labels):
        if not path.is_file():
            raise UserError(f"data stl10: {path.name} is missing from the archive")
    raw, numbers = np.fromfile(images, np.uint8), np.fromfile(labels, np.uint8)
    if len(raw) != len(numbers) * 3 * SIDE * SIDE or not len(raw):
        raise UserError(f"data stl10: {images.name}: {len(raw)} bytes are not {len(numbers)} images")
    if not 1 <= numbers.min() <= numbers.max() <= len(classes):
        raise UserError(f"data stl10: {labels.name}: classes must be 1 to {len(classes)}")
    planes = raw.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)
    return [(classes[number - 1], pixels) for number, pixels in zip(numbers, planes, strict=True)]
