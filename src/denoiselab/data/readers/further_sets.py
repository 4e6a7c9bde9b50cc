"""Further images for any data set: training images (`data.training`) and test sets (`data.tests`, and your own in
`data.test_folder`).

Images have the same ids as in their own data set, and so the same noise.
"""

import re
from collections.abc import Callable
from pathlib import Path

from denoiselab.config.data import Archive, DataBlock
from denoiselab.data.manifest import Source
from denoiselab.data.readers import bsd400_gray, bsds500, cid22
from denoiselab.data.readers.folder import listed
from denoiselab.data.readers.sources import Sources
from denoiselab.runtime.errors import UserError

# Addresses as in conf/data
BSDS500 = Archive(
    url="https://github.com/BIDS/BSDS500/archive/a04b7c6c3a9f0ace74bf205c72a43d32e1c72722.tar.gz", sha256=None
)
SET12 = Archive(
    url="https://github.com/SaoYan/DnCNN-PyTorch/archive/6b0804951484eadb7f1ea24e8e5c9ede9bea485b.tar.gz", sha256=None
)
CORPUS = "https://raw.githubusercontent.com/imazen/codec-corpus/55decfe826d350815e3af3b5ac69b882fb2943d3"
CID22 = f"{CORPUS}/CID22/CID22-512"


def training(data: DataBlock, sources: Sources) -> list[Source]:
    """The training images of the data sets in `data.training`, converted to `data.channels`."""
    return [source for name in data.training for source in TRAINING[name](sources)]


def tests(data: DataBlock, sources: Sources) -> list[Source]:
    """The images of `data.tests` and `data.test_folder`.

    UserError for a gray test set in a colour experiment or vice versa, and for a folder without images.
    """
    found = []
    for name in data.tests:
        channels, listing = TESTS[name]
        if channels not in (None, data.channels):
            raise UserError(f"data.tests: {name} needs data.channels={channels}, not {data.channels}")
        found += listing(sources)
    return found + (_own(Path(data.test_folder), sources) if data.own_tests else [])


def _kodak24(sources: Sources) -> list[Source]:
    files = sources.listed("kodak24", f"{CORPUS}/kodak")
    return [
        Source(f"Kodak24/{int(file.stem):02d}", "test", "", file, sets=("Kodak24",), source="kodak24")
        for file in files.values()
    ]


def _own(root: Path, sources: Sources) -> list[Source]:
    """Images below the user's folder: one test set per subfolder, and one of the files outside of subfolders."""
    sources.own("test_folder")
    names = listed(root, "data.test_folder")
    if not names:
        raise UserError(f"data.test_folder: {root} has no images")
    found = []
    for name in names:
        folder, _, rest = name.partition("/")
        title = re.sub(r"\s+", "_", folder if rest else root.resolve().name)
        found.append(Source(f"{title}/{rest or name}", "test", "", root / name, sets=(title,), source="test_folder"))
    return found


TRAINING: dict[str, Callable[[Sources], list[Source]]] = {
    "bsds500": lambda sources: bsds500.training(bsds500.photographs(BSDS500, sources)),
    "cid22": lambda sources: cid22.training(CID22, sources),
}
# Number of channels (None: any), images
TESTS: dict[str, tuple[int | None, Callable[[Sources], list[Source]]]] = {
    "bsd68": (1, lambda sources: bsd400_gray.bsd68(bsds500.photographs(BSDS500, sources))),
    "cbsd68": (3, lambda sources: bsds500.cbsd68(bsds500.photographs(BSDS500, sources))),
    "cid22": (None, lambda sources: cid22.tests(CID22, sources)),
    "kodak24": (None, _kodak24),
    "set12": (1, lambda sources: bsd400_gray.set12(SET12, sources)),
}
