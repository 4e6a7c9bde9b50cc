"""Stage patchify: positions and pixels of patches."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from denoiselab.config import Patches
from denoiselab.data import manifest, patches
from denoiselab.imaging import arrays, dataset_images
from denoiselab.runtime.errors import UserError


def raw(folder, sizes: dict[str, tuple[int, int]]) -> None:
    rows = []
    for n, (name, (height, width)) in enumerate(sizes.items()):
        split = name.partition("-")[0]
        pixels = np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8)
        dataset_images.write_png(folder / f"{name}.png", pixels)
        rows.append(row(name, split, pixels))
    manifest.write(folder, rows)


def row(name: str, split: str, pixels: np.ndarray, noisy: str = "") -> manifest.Row:
    sha256, (height, width) = arrays.pixel_hash(pixels), pixels.shape[:2]
    return manifest.Row(name, split, "", name, "", f"{name}.png", noisy, sha256, "", "0" * 64, width, height, "")


def params(**changes) -> Patches:
    return Patches.model_validate(
        {"size": 40, "stride": 40, "val_size": 40, "scales": [1.0], "shard_mib": 64} | changes
    )


def test_the_classic_recipe_gives_214_patches_per_image(tmp_path):
    raw(tmp_path, {"train-a": (321, 481), "train-b": (481, 321), "val-a": (80, 80)})
    counts = patches.cut(tmp_path, params(scales=[1.0, 0.8, 0.7, 0.5]), 3, tmp_path / "out")
    assert counts == {"train": 2 * 214, "val": 4}
    assert len(patches.load(tmp_path / "out", "train")) == 2 * 214


def test_enlarged_images_are_softer(tmp_path):
    raw(tmp_path, {"train-a": (100, 120), "val-a": (80, 80)})
    assert patches.cut(tmp_path, params(scales=[1.5]), 3, tmp_path / "out")["train"] == 3 * 4
    assert patches.cut(tmp_path, params(), 3, tmp_path / "own")["train"] == 2 * 3
    soft, own = (np.concatenate([*patches.load(tmp_path / name, "train")]).astype(float) for name in ("out", "own"))
    assert np.abs(np.diff(soft, axis=1)).mean() < 0.8 * np.abs(np.diff(own, axis=1)).mean()
    assert soft.mean() == pytest.approx(own.mean(), abs=2)


def test_patches_have_the_pixels_of_their_positions(tmp_path):
    raw(tmp_path, {"train-a": (300, 500), "train-b": (410, 410), "train-c": (410, 310), "val-a": (90, 120)})
    patches.cut(tmp_path, params(size=80, stride=20, shard_mib=1), 3, tmp_path / "out")
    loaded = patches.load(tmp_path / "out", "train")
    train = patches.index(tmp_path / "out", "train")
    assert loaded.shape == (len(train), 80, 80, 3)
    assert len({place.shard for place in train}) > 1
    for n in range(0, len(train), 37):
        source = np.asarray(Image.open(tmp_path / f"{train[n].image}.png"))
        assert np.array_equal(loaded[n], source[train[n].y : train[n].y + 80, train[n].x : train[n].x + 80])


def test_shards_are_one_memory_mapped_array(tmp_path):
    raw(tmp_path, {"train-a": (400, 500), "val-a": (90, 120)})
    patches.cut(tmp_path, params(size=80, stride=20, shard_mib=1), 3, tmp_path / "out")
    loaded = patches.load(tmp_path / "out", "train")
    whole = np.concatenate([np.load(path) for path in sorted((tmp_path / "out").glob("train-*.npy"))])
    assert (loaded.shape, len(loaded), loaded.nbytes) == (whole.shape, len(whole), whole.nbytes)
    assert len(loaded.shards) > 2
    assert all(isinstance(shard, np.memmap) for shard in loaded.shards)
    last = [start - 1 for start in loaded.starts[1:]]
    for row in (0, *loaded.starts, *last, len(whole) - 1):
        assert np.array_equal(loaded[row], whole[row])
        assert isinstance(loaded[row], np.memmap)
    rows = np.random.default_rng(0).integers(0, len(whole), 50)
    assert np.array_equal(loaded[rows], whole[rows])
    for row in (-1, len(whole)):
        with pytest.raises(IndexError, match=f"patch {row} of {len(whole)}"):
            loaded[row]
    assert len(list(loaded)) == len(whole)


def test_a_split_without_patches_is_named(tmp_path):
    with pytest.raises(UserError, match="no val patches; run `dvc repro -f patchify`"):
        patches.load(tmp_path, "val")


def test_index_round_trip(tmp_path):
    raw(tmp_path, {"train-a": (100, 100), "val-a": (90, 120)})
    counts = patches.cut(tmp_path, params(scales=[1.0, 0.5]), 3, tmp_path / "out")
    places = {split: patches.index(tmp_path / "out", split) for split in ("train", "val")}
    assert {split: len(found) for split, found in places.items()} == counts
    assert [(p.scale, p.y, p.x) for p in places["train"]] == [
        *((1.0, y, x) for y in (0, 40) for x in (0, 40)),
        (0.5, 0, 0),
    ]
    assert len({place.id for found in places.values() for place in found}) == sum(counts.values())


def test_labels_agree_with_the_index(tmp_path):
    raw(tmp_path, {"train-a": (100, 100), "train-b": (60, 90), "val-a": (90, 120)})
    manifest.write(tmp_path, [replace(one, label=f"{one.image}, large") for one in manifest.read(tmp_path)])
    patches.cut(tmp_path, params(), 3, tmp_path / "out")
    assert patches.labels(tmp_path / "out", "train") == ["train-a, large"] * 4 + ["train-b, large"] * 2
    assert patches.labels(tmp_path / "out", "val") == ["val-a, large"] * 6


def test_scales_smaller_than_a_patch_give_no_patches(tmp_path):
    raw(tmp_path, {"train-a": (60, 60), "val-a": (90, 120)})
    assert patches.cut(tmp_path, params(scales=[1.0, 0.5]), 3, tmp_path / "out")["train"] == 1


def test_scales_without_any_patch_are_refused(tmp_path):
    raw(tmp_path, {"train-a": (60, 60), "val-a": (90, 120)})
    with pytest.raises(UserError, match=r"patches.scales: at \[0.5\] no image is as large as a patch of 40 pixels"):
        patches.cut(tmp_path, params(scales=[0.5]), 3, tmp_path / "out")


@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_are_cut_at_the_same_positions(tmp_path, channels):
    rows = []
    for n, name in enumerate(("train-a", "train-b", "val-a")):
        clean = np.random.default_rng(n).integers(0, 200, (90 + 40 * n, 130), np.uint8)
        clean = dataset_images.convert(clean, channels)
        dataset_images.write_png(tmp_path / f"{name}.png", clean)
        dataset_images.write_png(tmp_path / f"noisy-{name}.png", clean + 7)
        rows.append(row(name, name.partition("-")[0], clean, f"noisy-{name}.png"))
    manifest.write(tmp_path, rows)
    patches.cut(tmp_path, params(), channels, tmp_path / "out")
    for split in ("train", "val"):
        clean, noisy = patches.load(tmp_path / "out", split), patches.load_noisy(tmp_path / "out", split)
        assert clean.shape == noisy.shape == (len(patches.index(tmp_path / "out", split)), 40, 40, channels)
        rows = np.arange(len(clean))
        assert np.array_equal(noisy[rows], clean[rows] + 7)


def test_data_without_pairs_have_no_noisy_patches(tmp_path):
    raw(tmp_path, {"train-a": (100, 100), "val-a": (90, 120)})
    patches.cut(tmp_path, params(), 3, tmp_path / "out")
    assert patches.load_noisy(tmp_path / "out", "train") is None


@pytest.mark.parametrize(("name", "key"), [("train-small", "patches.size"), ("val-small", "patches.val_size")])
def test_an_image_smaller_than_a_patch_is_named(tmp_path, name, key):
    raw(tmp_path, {"train-a": (100, 100), "val-a": (90, 120), name: (30, 100)})
    with pytest.raises(UserError, match=rf"{name}: 100x30 is smaller than a patch \({key}: 40\)"):
        patches.cut(tmp_path, params(), 3, tmp_path / "out")
