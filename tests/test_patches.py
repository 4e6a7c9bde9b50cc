"""patchify: where patches are cut, and that they are the image's pixels."""

import numpy as np
import pytest
from PIL import Image

from denoiselab import images, patches
from denoiselab.config import Patches
from denoiselab.data import manifest


def raw(folder, sizes: dict[str, tuple[int, int]]) -> None:
    rows = []
    for n, (name, (height, width)) in enumerate(sizes.items()):
        split = name.partition("-")[0]
        pixels = np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8)
        images.write_png(folder / f"{name}.png", pixels)
        rows.append(manifest.Row(name, split, "", f"{name}.png", images.pixel_hash(pixels), width, height))
    manifest.write(folder, rows)


def params(**changes) -> Patches:
    return Patches.model_validate(
        {"size": 40, "stride": 40, "val_size": 40, "scales": [1.0], "shard_mib": 64} | changes
    )


def test_the_classic_recipe_gives_214_patches_an_image(tmp_path):
    raw(tmp_path, {"train-a": (321, 481), "train-b": (481, 321), "val-a": (80, 80)})
    places = patches.cut(tmp_path, params(scales=[1.0, 0.8, 0.7, 0.5]), 3, tmp_path / "out")
    assert sum(place.split == "train" for place in places) == 2 * 214


def test_patches_are_the_pixels_at_their_place_across_shards(tmp_path):
    raw(tmp_path, {"train-a": (300, 500), "train-b": (410, 410), "train-c": (410, 310), "val-a": (90, 120)})
    places = patches.cut(tmp_path, params(size=80, stride=20, shard_mib=1), 3, tmp_path / "out")
    loaded = patches.load(tmp_path / "out", "train")
    train = [place for place in places if place.split == "train"]
    assert loaded.shape == (len(train), 80, 80, 3)
    assert len({place.shard for place in train}) > 1
    for n in range(0, len(train), 37):
        source = np.asarray(Image.open(tmp_path / f"{train[n].image}.png"))
        assert np.array_equal(loaded[n], source[train[n].y : train[n].y + 80, train[n].x : train[n].x + 80])


def test_the_index_comes_back(tmp_path):
    raw(tmp_path, {"train-a": (100, 100), "val-a": (90, 120)})
    places = patches.cut(tmp_path, params(), 3, tmp_path / "out")
    assert patches.index(tmp_path / "out", "train") + patches.index(tmp_path / "out", "val") == places
    assert len({place.id for place in places}) == len(places)


@pytest.mark.parametrize(("name", "key"), [("train-small", "patches.size"), ("val-small", "patches.val_size")])
def test_an_image_smaller_than_a_patch_is_named(tmp_path, name, key):
    raw(tmp_path, {"train-a": (100, 100), "val-a": (90, 120), name: (30, 100)})
    with pytest.raises(ValueError, match=rf"{name}: 100x30 is smaller than a patch \({key}: 40\)"):
        patches.cut(tmp_path, params(), 3, tmp_path / "out")
