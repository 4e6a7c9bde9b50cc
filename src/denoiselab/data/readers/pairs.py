"""The user's own noisy and clean images, matched by name."""

from pathlib import Path, PurePosixPath

from denoiselab.config.data import Pairs
from denoiselab.data.manifest import Source
from denoiselab.data.readers.folder import listed
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.runtime.errors import UserError

MAX_SHOWN = 3  # names in a message


def images(data: Pairs, sources: Sources) -> list[Source]:
    """All pairs below `data.path`, matched by their path below the noisy or clean folder, without suffix and extension.

    UserError names images without a partner, or that match both suffixes.
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
            more = f" and {len(alone) - MAX_SHOWN} more" if len(alone) > MAX_SHOWN else ""
            shown = ", ".join(str(one[name]) for name in alone[:MAX_SHOWN])
            raise UserError(f"data.path: no {missing} image for {shown}{more}")
    if same := sorted(name for name in clean if clean[name] == noisy[name]):
        raise UserError(f"data.path: {clean[same[0]]}: is both noisy and clean; the folders or suffixes must differ")
    splits = by_share(clean, data.split, data.seed, where=f"data.path: {data.path}: pairs: ")
    return [Source(name, splits[name], "", clean[name], noisy=noisy[name], source="pairs") for name in sorted(clean)]


def _named(root: Path, suffix: str, other: str) -> dict[str, Path]:
    """Image files below a folder by name without suffix and extension.

    `other`: the partners' suffix, if they are in the same folder and it is the longer one; else empty.
    """
    named: dict[str, Path] = {}
    for path in listed(root):
        stem = PurePosixPath(path).with_suffix("").as_posix()
        if not stem.endswith(suffix) or (other and stem.endswith(other)):
            continue
        name = stem.removesuffix(suffix)
        if name in named:
            raise UserError(f"{named[name]} and {root / path}: images of the same name")
        named[name] = root / path
    return named
