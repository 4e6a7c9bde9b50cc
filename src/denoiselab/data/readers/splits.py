"""Train/validation/test splits by hashes of names: adding or removing images hardly changes the others' split."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from denoiselab.config.data import Limit, Split
from denoiselab.data.manifest import Source
from denoiselab.runtime.errors import UserError


def ranked(names: Iterable[str], seed: int) -> list[str]:
    """Sort names by a hash of seed and name."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode(errors="surrogatepass")).digest())


def by_share(groups: Iterable[str], split: Split, seed: int, where: str = "") -> dict[str, str]:
    """Assign every group (image or scene) to a split; each split gets at least one.

    UserError, beginning with `where`, for fewer than three groups.
    """
    order = ranked(set(groups), seed)
    if len(order) < 3:
        raise UserError(f"{where}only {len(order)} to split; training, validation and test need at least one each")
    n_test = min(max(1, round(split.test * len(order))), len(order) - 2)
    n_val = min(max(1, round(split.val * len(order))), len(order) - n_test - 1)
    names = ["test"] * n_test + ["val"] * n_val + ["train"] * (len(order) - n_test - n_val)
    return dict(zip(order, names, strict=True))


def hold_out(sources: list[Source], count: Callable[[int], int], seed: int) -> list[Source]:
    """Move count(n) of the n training images of each class to validation."""
    classes: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        if source.split == "train":
            classes[source.label].append(source.image)
    held = {name for names in classes.values() for name in ranked(names, seed)[: count(len(names))]}
    return [replace(s, split="val") if s.split == "train" and s.image in held else s for s in sources]


def limited(sources: list[Source], limit: Limit, seed: int) -> list[Source]:
    """Keep at most limit.<split> images of each split, balanced over the classes, in the given order."""
    kept: set[str] = set()
    for split in ("train", "val", "test"):
        rank = {name: n for n, name in enumerate(ranked((s.image for s in sources if s.split == split), seed))}
        counts: dict[str, int] = defaultdict(int)  # images of each class so far
        order = []
        for source in sorted((s for s in sources if s.split == split), key=lambda s: rank[s.image]):
            order.append((counts[source.label], rank[source.image], source.image))
            counts[source.label] += 1
        maximum = getattr(limit, split)
        kept |= {image for _, _, image in sorted(order)[:maximum]}
    return [source for source in sources if source.image in kept]
