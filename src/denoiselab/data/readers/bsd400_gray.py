"""The standard gray benchmark, bit-exact: Train400 for training, BSD68 and Set12 for testing.

Train400 has a 180x180 crop of each training and test image of BSDS500, converted to gray as MATLAB does
(tables/train400_crops.csv); BSD68 has 68 images of its val split (tables/bsd68_ids.csv).
"""

from pathlib import Path

from denoiselab.config.data import Archive, Bsd400Gray
from denoiselab.data.manifest import Source
from denoiselab.data.readers.bsds500 import photographs
from denoiselab.data.readers.sources import Sources, table
from denoiselab.data.readers.splits import hold_out

CROP = 180  # pixels


def images(data: Bsd400Gray, sources: Sources) -> list[Source]:
    """The 400 crops and the 80 test images, with the benchmark's names as ids."""
    files = photographs(data.bsds500, sources)
    found = []
    for row in table("train400_crops"):
        crop = (int(row["top"]), int(row["left"]), CROP, CROP)
        file = files[row["split"], row["bsds500_id"]]
        found.append(Source(row["file"].removesuffix(".png"), "train", "", file, crop=crop, source="bsds500"))
    found = hold_out(found, lambda n: data.val_images, data.seed)
    return found + bsd68(files) + set12(data.set12, sources)


def bsd68(files: dict[tuple[str, str], Path]) -> list[Source]:
    """BSD68 from BSDS500's files by (split, id)."""
    found = []
    for row in table("bsd68_ids"):
        name = f"BSD68/{row['bsd68_file'].removesuffix('.png')}"
        found.append(Source(name, "test", "", files["val", row["bsds500_val_id"]], sets=("BSD68",), source="bsds500"))
    return found


def set12(archive: Archive, sources: Sources) -> list[Source]:
    """The twelve images of Set12."""
    files = sorted((sources.unpacked("set12", archive) / "data/Set12").glob("*.png"))
    return [Source(f"Set12/{path.stem}", "test", "", path, sets=("Set12",), source="set12") for path in files]
