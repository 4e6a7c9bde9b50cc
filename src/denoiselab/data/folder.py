"""Any folder of images, its subfolders included, split by image; the first subfolder's name is the class."""

from pathlib import Path

from denoiselab import images as image_files
from denoiselab.config.data import Ffhq, Folder
from denoiselab.data.manifest import Source
from denoiselab.data.sources import Sources
from denoiselab.data.splits import by_share


def images(data: Folder, sources: Sources) -> list[Source]:
    """Every image file below `data.path`. ValueError if it is no folder, or holds fewer than three images."""
    sources.own("folder")
    return split(data, Path(data.path), "folder", labelled=True)


def split(data: Folder | Ffhq, root: Path, name: str, labelled: bool) -> list[Source]:
    """The image files below `root`, split by image."""
    found = listed(root)
    try:
        places = by_share(found, data.split, data.seed)
    except ValueError as error:
        raise ValueError(f"data.path: {data.path}: {error} ({', '.join(image_files.SUFFIXES)})") from None
    return [
        Source(
            image,
            places[image],
            image.split("/")[0] if labelled and "/" in image else "",
            root / image,
            sets=(name,) if places[image] == "test" else (),
            source=name,
        )
        for image in found
    ]


def listed(root: Path) -> list[str]:
    """Relative names of the image files below a folder, sorted. ValueError if it is none."""
    if not root.is_dir():
        raise ValueError(f"data.path: {root} is not a folder")
    found = (p.relative_to(root) for p in root.rglob("*") if p.suffix.lower() in image_files.SUFFIXES)
    return sorted(p.as_posix() for p in found if not any(part.startswith((".", "__MACOSX")) for part in p.parts))
