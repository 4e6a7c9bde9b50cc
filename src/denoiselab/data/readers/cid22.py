"""The photographs of Cloudinary's CID22, 512x512: 183 for training and validation, 41 for testing.

Its folder `training` also has 25 drawings, charts and title pictures, and a copy of a test image: they are left out.
"""

from denoiselab.config.data import Cid22
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import hold_out

SPLITS = {"training": "train", "validation": "test"}  # by the folder's name


def images(data: Cid22, sources: Sources) -> list[Source]:
    """All photographs; `data.val_images` of the training images are for validation."""
    return hold_out(_photographs(data.cid22.url, sources), lambda n: data.val_images, data.seed)


def training(url: str, sources: Sources) -> list[Source]:
    """The training images."""
    return [source for source in _photographs(url, sources) if source.split == "train"]


def tests(url: str, sources: Sources) -> list[Source]:
    """The test images."""
    return [source for source in _photographs(url, sources) if source.split == "test"]


def _photographs(url: str, sources: Sources) -> list[Source]:
    found = []
    for name, file in sources.listed("cid22", url).items():
        folder, _, image = name.removesuffix(".png").partition("/")
        found.append(
            Source(image, SPLITS[folder], "", file, sets=("CID22",) * (folder == "validation"), source="cid22")
        )
    return found
