"""Any folder of images, its subfolders included, split by image; the first subfolder's name is the class."""

from pathlib import Path

from denoiselab.config.data import Cifar104k, Ffhq, Folder
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.imaging import dataset_images as image_files
from denoiselab.runtime.errors import UserError


def images(data: Folder, sources: Sources) -> list[Source]:
    """Every image file below `data.path`. ValueError if it is no folder, or holds fewer than three images."""
    sources.own("folder")
    return split(data, Path(data.path), "folder", where=f"data.path: {data.path}: ", labelled=True)


def split(data: Folder | Ffhq | Cifar104k, root: Path, source: str, where: str, labelled: bool = False) -> list[Source]:
    """The image files below `root`, split by image. ValueError behind `where` for fewer than three."""
    found = listed(root)
    places = by_share(found, data.split, data.seed, where=where)
    labels = {image: image.split("/")[0] for image in found if labelled and "/" in image}
    return [Source(image, places[image], labels.get(image, ""), root / image, source=source) for image in found]


def listed(root: Path) -> list[str]:
    """Relative names of the image files below a folder, sorted. ValueError if it is none."""
    if not root.is_dir():
        raise UserError(f"data.path: {root} is not a folder")
    found = (p.relative_to(root) for p in root.rglob("*") if p.suffix.lower() in image_files.SUFFIXES)
    return sorted(p.as_posix() for p in found if not any(part.startswith((".", "__MACOSX")) for part in p.parts))
