"""BSDS500 in colour: its train and test splits for training, its val split for testing.

The 68 images of CBSD68 and BSD68 are in its val split, so that training on it would leak them.
"""

from pathlib import Path

from denoiselab.config.data import Archive, Bsds500
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources, table
from denoiselab.data.readers.splits import hold_out

IMAGES = "BSDS500/data/images"


def images(data: Bsds500, sources: Sources) -> list[Source]:
    """The 500 images: 400 for training and validation, 100 for testing, 68 of these in CBSD68."""
    files = photographs(data.bsds500, sources)
    in_cbsd68 = {source.image for source in cbsd68(files)}
    found = hold_out(training(files), lambda n: data.val_images, data.seed)
    for (split, name), file in sorted(files.items()):
        if split == "val":
            sets = ("CBSD68", "BSDS500-val") if name in in_cbsd68 else ("BSDS500-val",)
            found.append(Source(name, "test", "", file, sets=sets, source="bsds500"))
    return found


def training(files: dict[tuple[str, str], Path]) -> list[Source]:
    """The 400 images of the train and test splits, from the files by (split, id)."""
    return [
        Source(name, "train", "", file, source="bsds500")
        for (split, name), file in sorted(files.items())
        if split != "val"
    ]


def cbsd68(files: dict[tuple[str, str], Path]) -> list[Source]:
    """CBSD68, the 68 images of BSD68 in colour, from the files by (split, id)."""
    names = sorted(row["bsds500_val_id"] for row in table("bsd68_ids"))
    return [Source(name, "test", "", files["val", name], sets=("CBSD68",), source="bsds500") for name in names]


def photographs(archive: Archive, sources: Sources) -> dict[tuple[str, str], Path]:
    """Image files by (split in BSDS500, id)."""
    root = sources.unpacked("bsds500", archive)
    return {(path.parent.name, path.stem): path for path in (root / IMAGES).glob("*/*.jpg")}
