"""Splits by hashes of names: independent of order and of other images."""

import random
from collections import Counter
from pathlib import Path

import pytest

from denoiselab.config.data import Limit, Split
from denoiselab.data.manifest import Source
from denoiselab.data.readers.splits import by_share, hold_out, limited, ranked

SPLIT = Split(train=0.7, val=0.15, test=0.15)
NAMES = [f"photo{n}.png" for n in range(100)]


def made(split: str, **classes: int) -> list[Source]:
    """Images of a split, with the given number per class."""
    return [Source(f"{split}/{c}/{n}", split, c, Path("x")) for c, count in classes.items() for n in range(count)]


def test_splits_have_the_given_fractions():
    assert Counter(by_share(NAMES, SPLIT, 0).values()) == {"train": 70, "val": 15, "test": 15}


def test_order_and_repetition_do_not_matter():
    shuffled = NAMES * 2
    random.Random(0).shuffle(shuffled)
    assert by_share(shuffled, SPLIT, 0) == by_share(NAMES, SPLIT, 0)


def test_the_seed_matters():
    assert len({tuple(sorted(by_share(NAMES, SPLIT, seed).items())) for seed in range(5)}) == 5


def test_the_split_is_the_same_on_every_machine():
    """Unlike Python's hash() and random generators of different versions."""
    assert [name for name, split in by_share(NAMES[:8], SPLIT, 0).items() if split == "test"] == ["photo0.png"]


@pytest.mark.parametrize("seed", range(10))
def test_adding_an_image_changes_few_splits(seed):
    before = by_share(NAMES, SPLIT, seed)
    after = by_share([*NAMES, "new.png"], SPLIT, seed)
    moved = [(before[name], after[name]) for name in NAMES if before[name] != after[name]]
    assert len(moved) <= 3
    assert ("train", "test") not in moved
    assert ("test", "train") not in moved


@pytest.mark.parametrize("count", [3, 4, 5, 10])
@pytest.mark.parametrize("shares", [(0.98, 0.01, 0.01), (0.01, 0.98, 0.01), (0.01, 0.01, 0.98)])
def test_every_split_has_at_least_one_image(count, shares):
    split = Split(train=shares[0], val=shares[1], test=shares[2])
    places = by_share(NAMES[:count], split, 0)
    assert len(places) == count
    assert set(places.values()) == {"train", "val", "test"}


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"], ["a", "b", "a", "b"]])
def test_fewer_than_three_are_refused(names):
    with pytest.raises(
        ValueError, match=rf"^only {len(set(names))} to split; training, validation and test need at least"
    ):
        by_share(names, SPLIT, 0)


def test_hold_out_takes_from_each_class():
    found = made("train", cat=20, dog=10, fox=1) + made("test", cat=5)
    held = hold_out(found, lambda n: round(0.2 * n), 0)
    assert [source.image for source in held] == [source.image for source in found]
    assert Counter((s.split, s.label) for s in held if s.split != "train") == {
        ("val", "cat"): 4,
        ("val", "dog"): 2,
        ("test", "cat"): 5,
    }


def test_hold_out_depends_on_the_seed_not_on_order():
    found = made("train", cat=20, dog=10)

    def held(sources: list[Source], seed: int) -> set[str]:
        return {source.image for source in hold_out(sources, lambda n: 3, seed) if source.split == "val"}

    assert held(found, 0) == held(found[::-1], 0)
    assert held(found, 0) != held(found, 1)
    cats = {name for name in held(found, 0) if "cat" in name}
    assert cats == held(made("train", cat=20), 0)  # classes are independent


def test_limits_are_balanced_and_keep_the_order():
    found = made("train", cat=50, dog=50, fox=2) + made("val", cat=9) + made("test", cat=9, dog=9)
    kept = limited(found, Limit(train=12, val=None, test=3), 0)
    counts = Counter((source.split, source.label) for source in kept)
    assert counts["train", "cat"] == counts["train", "dog"] == 5
    assert counts["train", "fox"] == 2
    assert counts["val", "cat"] == 9
    assert sorted((counts["test", "cat"], counts["test", "dog"])) == [1, 2]
    order = [source.image for source in found]
    assert [source.image for source in kept] == sorted((s.image for s in kept), key=order.index)


def test_a_larger_limit_includes_a_smaller_one():
    found = made("train", cat=50, dog=50)

    def kept(count: int, sources: list[Source] = found, seed: int = 0) -> set[str]:
        return {s.image for s in limited(sources, Limit(train=count, val=None, test=None), seed)}

    assert kept(10) < kept(20)
    assert kept(10) == kept(10, found[::-1])
    assert kept(10) != kept(10, seed=1)
    assert kept(1000) == {source.image for source in found}


def test_ranks_depend_on_names_only():
    order = ranked(NAMES, 0)
    assert sorted(order) == sorted(NAMES) != order
    assert ranked(NAMES[:50], 0) == [name for name in order if name in NAMES[:50]]
