"""AFHQ: animal faces of 512x512 by class, its own val as the test."""

from denoiselab.config.data import Afhq
from denoiselab.data.manifest import Source
from denoiselab.data.readers.folder import listed
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import hold_out
from denoiselab.runtime.errors import UserError

SPLITS = {"train": "train", "val": "test", "test": "test"}  # version 2 calls it test


def images(data: Afhq, sources: Sources) -> list[Source]:
    """Every image of split/class folders, at whatever depth they begin. ValueError where there are none."""
    folder = sources.unpacked("afhq", data.afhq)
    found = []
    for path in (folder / name for name in listed(folder)):
        own, label = path.parts[-3:-1]
        if split := SPLITS.get(own):
            sets = ("AFHQ-val",) if split == "test" else ()
            found.append(Source(f"{own}/{label}/{path.stem}", split, label, path, sets=sets, source="afhq"))
    if not found:
        raise UserError(f"data afhq: no folders train/<class> and val/<class> in {data.afhq.url}")
    return hold_out(found, lambda n: max(1, round(data.val_share * n)), data.seed)
