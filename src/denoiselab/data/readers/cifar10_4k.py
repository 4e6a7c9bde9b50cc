"""4,000 training images of CIFAR-10 as PNG in class folders: a small labelled set for offline use."""

from dataclasses import replace

from denoiselab.config.data import Cifar104k
from denoiselab.data.manifest import Source
from denoiselab.data.readers.folder import split
from denoiselab.data.readers.sources import Sources
from denoiselab.runtime.errors import UserError


def images(data: Cifar104k, sources: Sources) -> list[Source]:
    """Images train/<class>/*.png, split by image. UserError if there are none."""
    url = data.cifar10_4k.url
    root = sources.unpacked("cifar10_4k", data.cifar10_4k) / "train"
    if not root.is_dir():
        raise UserError(f"data cifar10_4k: {url} has no folder train")
    found = split(data, root, "cifar10_4k", where=f"data cifar10_4k: {url}: images: ", labelled=True)
    return [replace(source, image=source.image.removesuffix(".png")) for source in found]
