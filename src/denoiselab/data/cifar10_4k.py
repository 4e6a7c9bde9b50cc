"""4,000 training images of CIFAR-10 as PNG in class folders: small enough to try things offline."""

from denoiselab.config.data import Cifar104k
from denoiselab.data.folder import listed
from denoiselab.data.manifest import Source
from denoiselab.data.sources import Sources
from denoiselab.data.splits import by_share


def images(data: Cifar104k, sources: Sources) -> list[Source]:
    """train/<class>/*.png, split by image. ValueError where there are none."""
    root = sources.unpacked("cifar10_4k", data.cifar10_4k) / "train"
    if not root.is_dir():
        raise ValueError(f"data cifar10_4k: no folder train in {data.cifar10_4k.url}")
    found = listed(root)
    try:
        places = by_share(found, data.split, data.seed)
    except ValueError as error:
        raise ValueError(f"data cifar10_4k: {data.cifar10_4k.url}: images: {error}") from None
    return [
        Source(
            image.removesuffix(".png"),
            places[image],
            image.split("/")[0],
            root / image,
            sets=("cifar10_4k",) if places[image] == "test" else (),
            source="cifar10_4k",
        )
        for image in found
    ]
