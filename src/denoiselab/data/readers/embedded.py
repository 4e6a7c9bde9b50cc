"""Photographs that ship with scikit-image, scikit-learn and matplotlib: real images without a download.

scikit-image's are in the public domain or CC0, except motorcycle (Middlebury stereo 2014, research use); scikit-learn's
two are CC BY; matplotlib's portrait is in the public domain: see their README files. The two views of the motorcycle
show one scene, so they are in the same split.
"""

from importlib.util import find_spec
from pathlib import Path

from denoiselab.config.data import Embedded
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.runtime.errors import UserError

SKIMAGE = "skimage/data"
SKLEARN = "sklearn/datasets/images"
MATPLOTLIB = "matplotlib/mpl-data/sample_data"

COLOUR = {
    "train": [
        f"{SKIMAGE}/motorcycle_left.png",
        f"{SKIMAGE}/motorcycle_right.png",
        f"{SKIMAGE}/coffee.png",
        f"{SKIMAGE}/ihc.png",
    ],
    "val": [f"{MATPLOTLIB}/grace_hopper.jpg", f"{SKLEARN}/flower.jpg"],
    "test": [
        f"{SKIMAGE}/astronaut.png",
        f"{SKIMAGE}/chelsea.png",
        f"{SKIMAGE}/rocket.jpg",
        f"{SKLEARN}/china.jpg",
    ],
}

GRAY = {
    "train": [f"{SKIMAGE}/brick.png", f"{SKIMAGE}/gravel.png", f"{SKIMAGE}/coins.png"],
    "val": [f"{SKIMAGE}/grass.png"],
    "test": [f"{SKIMAGE}/camera.png", f"{SKIMAGE}/moon.png"],
}


def images(data: Embedded, sources: Sources) -> list[Source]:
    """The colour photographs; with one channel these and the gray ones. UserError if a package is missing."""
    sources.own("embedded")
    groups = [COLOUR, GRAY] if data.channels == 1 else [COLOUR]
    return [
        Source(Path(name).stem, split, "", _locate(name), source="embedded")
        for group in groups
        for split, names in group.items()
        for name in names
    ]


def _locate(name: str) -> Path:
    package, _, inside = name.partition("/")
    spec = find_spec(package)
    file = Path((spec.submodule_search_locations or [""])[0]) / inside if spec else Path(inside)
    if not file.is_file():
        raise UserError(
            f"data embedded: {name} is missing from the installed packages; run pip install -r requirements.txt"
        )
    return file
