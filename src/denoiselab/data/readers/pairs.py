"""Your own noisy and clean images, matched by name."""

from pathlib import Path, PurePosixPath

from denoiselab.config.data import Pairs
from denoiselab.data.manifest import Source
from denoiselab.data.readers.folder import listed
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.runtime.errors import UserError

SHOWN = 3  # names in a message


def images(data: Pairs, sources: Sources) -> list[Source]:
    """Every pair below `data.path`. ValueError names images without a partner, or that would be their own.

    A name is the path below the folder of noisy or clean images without suffix and extension.
    """
    sources.own("pairs")
    root, suffixes = Path(data.path), (data.noisy_suffix, data.clean_suffix)
    longer = max(suffixes, key=len) if (root / data.noisy).resolve() == (root / data.clean).resolve() else ""
    noisy, clean = (
        _named(root / folder, suffix, longer if suffix != longer else "")
        for folder, suffix in zip((data.noisy, data.clean), suffixes, strict=True)
    )
    for one, two, missing in ((noisy, clean, "clean"), (clean, noisy, "noisy")):
        if alone := sorted(one.keys() - two.keys()):
            more = f" and {len(alone) - SHOWN} more" if len(alone) > SHOWN else ""
            shown = ", ".join(str(one[name]) for name in alone[:SHOWN])
            raise UserError(f"data.path: no {missing} image for {shown}{more}")
    if same := sorted(name for name in clean if clean[name] == noisy[name]):
        raise UserError(f"data.path: {clean[same[0]]}: noisy and clean at once; the folders or suffixes must differ")
    places = by_share(clean, data.split, data.seed, where=f"data.path: {data.path}: pairs: ")
    return [Source(name, places[name], "", clean[name], noisy=noisy[name], source="pairs") for name in sorted(clean)]


def _named(root: Path, suffix: str, other: str) -> dict[str, Path]:
    """The image files below a folder by their name without suffix and extension.

    `other` is the longer suffix of the partners in that folder, or empty where there are none.
    """
    named: dict[str, Path] = {}
    for found in listed(root):
        stem = PurePosixPath(found).with_suffix("").as_posix()
        if not stem.endswith(suffix) or (other and stem.endswith(other)):
            continue
        name = stem.removesuffix(suffix)
        if name in named:
            raise UserError(f"{named[name]} and {root / found}: images of the same name")
        named[name] = root / found
    return named
