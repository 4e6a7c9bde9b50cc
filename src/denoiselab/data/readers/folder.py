"""A folder of images and stacks with its subfolders, split by file; the first subfolder is the class."""

import os
from collections.abc import Iterator
from pathlib import Path

from denoiselab.config.data import Cifar104k, Ffhq, Folder
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.imaging import dataset_images as image_files
from denoiselab.runtime.errors import UserError

HIDDEN = (".", "__MACOSX")  # beginnings of names that are not listed


def images(data: Folder, sources: Sources) -> list[Source]:
    """All image files below `data.path`. UserError if it is not a folder or has fewer than three images."""
    sources.own("folder")
    return split(data, Path(data.path), "folder", where=f"data.path: {data.path}: ", labelled=True)


def split(data: Folder | Ffhq | Cifar104k, root: Path, source: str, where: str, labelled: bool = False) -> list[Source]:
    """Image files below `root`, split by file; every image of a stack counts. UserError, beginning with `where`, for
    fewer than three.

    The images of a stack are in one split and one group, unless there are fewer than three files.
    """
    names = listed(root)
    pages = {name: image_files.pages(root / name) for name in names}
    images = [(name, n) for name in names for n in range(pages[name])]
    ids = {(name, n): f"{name}#{n + 1:04d}" if pages[name] > 1 else name for name, n in images}
    together = len(names) >= 3
    units = {image: image[0] if together else ids[image] for image in images}
    splits = by_share(units.values(), data.split, data.seed, where=where)
    return [
        Source(
            ids[name, n],
            splits[units[name, n]],
            name.split("/")[0] if labelled and "/" in name else "",
            root / name,
            group=name if together and pages[name] > 1 else "",
            source=source,
            page=n if pages[name] > 1 else None,
        )
        for name, n in images
    ]


def listed(root: Path, key: str = "data.path") -> list[str]:
    """Sorted relative paths of the image files below a folder. UserError, naming the key, if it is not a folder."""
    if not root.is_dir():
        raise UserError(f"{key}: {root} is not a folder")
    found = (path.relative_to(root) for path in _walked(root) if path.suffix.lower() in image_files.SUFFIXES)
    return sorted(path.as_posix() for path in found if not path.name.startswith(HIDDEN))


def _walked(root: Path) -> Iterator[Path]:
    """All files below a folder; links are followed, but not to a folder that is visited anyway."""
    known = {root.resolve()}
    for folder, subfolders, names in os.walk(root, onerror=_fail, followlinks=True):
        here = Path(folder)
        shown = sorted(name for name in subfolders if not name.startswith(HIDDEN))
        subfolders[:] = [name for name in shown if _is_new(here / name, known)]
        yield from (here / name for name in names)


def _is_new(folder: Path, known: set[Path]) -> bool:
    """Whether it is no link, or one to somewhere outside the `known` folders, which then has them."""
    if not folder.is_symlink():
        return True
    target = folder.resolve()
    if any(target.is_relative_to(one) or one.is_relative_to(target) for one in known):
        return False
    known.add(target)
    return True


def _fail(error: OSError) -> None:
    raise error
