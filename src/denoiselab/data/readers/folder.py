"""A folder of images with its subfolders, split by image; the first subfolder is the class."""

from pathlib import Path

from denoiselab.config.data import Cifar104k, Ffhq, Folder
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.imaging import dataset_images as image_files
from denoiselab.runtime.errors import UserError


def images(data: Folder, sources: Sources) -> list[Source]:
    """All image files below `data.path`. UserError if it is not a folder or has fewer than three images."""
    sources.own("folder")
    return split(data, Path(data.path), "folder", where=f"data.path: {data.path}: ", labelled=True)


def split(data: Folder | Ffhq | Cifar104k, root: Path, source: str, where: str, labelled: bool = False) -> list[Source]:
    """Image files below `root`, split by image. UserError, beginning with `where`, for fewer than three."""
    names = listed(root)
    splits = by_share(names, data.split, data.seed, where=where)
    labels = {name: name.split("/")[0] for name in names if labelled and "/" in name}
    return [Source(name, splits[name], labels.get(name, ""), root / name, source=source) for name in names]


def listed(root: Path, key: str = "data.path") -> list[str]:
    """Sorted relative paths of the image files below a folder. UserError, naming the key, if it is not a folder."""
    if not root.is_dir():
        raise UserError(f"{key}: {root} is not a folder")
    paths = (p.relative_to(root) for p in root.rglob("*") if p.suffix.lower() in image_files.SUFFIXES)
    return sorted(p.as_posix() for p in paths if not any(part.startswith((".", "__MACOSX")) for part in p.parts))
