"""AFHQ: animal faces of 512x512 pixels by class; its val split is the test split."""

from denoiselab.config.data import Afhq
from denoiselab.data.manifest import Source
from denoiselab.data.readers.folder import listed
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import hold_out
from denoiselab.runtime.errors import UserError

SPLITS = {"train": "train", "val": "test", "test": "test"}  # version 2 names the split test


def images(data: Afhq, sources: Sources) -> list[Source]:
    """All images in folders <split>/<class>, at any depth. UserError if there are none."""
    folder = sources.unpacked("afhq", data.afhq)
    found = []
    for path in (folder / name for name in listed(folder)):
        folder_split, label = path.parts[-3:-1]
        if split := SPLITS.get(folder_split):
            sets = ("AFHQ-val",) if split == "test" else ()
            found.append(Source(f"{folder_split}/{label}/{path.stem}", split, label, path, sets=sets, source="afhq"))
    if not found:
        raise UserError(f"data afhq: {data.afhq.url} has no folders train/<class> and val/<class>")
    return hold_out(found, lambda n: max(1, round(data.val_share * n)), data.seed)
