"""Any folder of images, its subfolders included, split by image."""

import hashlib
from pathlib import Path

from denoiselab import images as image_files
from denoiselab.config import FolderData
from denoiselab.data.manifest import Source


def images(data: FolderData) -> list[Source]:
    """Every image file below `data.path`. ValueError if it is no folder, or holds fewer than three images.

    An image's place depends on the seed and its relative path, so that it hardly moves when other
    images come or go.
    """
    root = Path(data.path)
    if not root.is_dir():
        raise ValueError(f"data.path: {root} is not a folder")
    found = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix.lower() in image_files.SUFFIXES)
    if len(found) < 3:
        allowed = ", ".join(image_files.SUFFIXES)
        raise ValueError(
            f"data.path: {root} holds {len(found)} images ({allowed}); training, validation and test need one each"
        )
    ranked = sorted(found, key=lambda name: hashlib.sha256(f"{data.seed}:{name}".encode()).digest())
    n_test = min(max(1, round(data.split.test * len(found))), len(found) - 2)
    n_val = min(max(1, round(data.split.val * len(found))), len(found) - n_test - 1)
    splits = ["test"] * n_test + ["val"] * n_val + ["train"] * (len(found) - n_test - n_val)
    return [Source(name, split, "", root / name) for name, split in sorted(zip(ranked, splits, strict=True))]
