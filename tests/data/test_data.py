"""Stage fetch: embedded photographs, folders, splits, leaks."""

import numpy as np
import pytest
from PIL import Image

from denoiselab.config.data import Embedded, Folder
from denoiselab.data import manifest
from denoiselab.data.fetch import fetch
from denoiselab.imaging import arrays, dataset_images
from denoiselab.runtime.errors import UserError

COMMON = {"allow_leak": False, "drop_leaks": False, "training": [], "tests": []} | {
    "test_folder": "conf/data/embedded.yaml"
}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> None:
    """Keep downloads and scratch folders out of the project."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))


def folder(path, **changes) -> Folder:
    values = COMMON | {"name": "folder", "watch": str(path), "path": str(path), "channels": 3, "seed": 0}
    values |= {"split": {"train": 0.6, "val": 0.2, "test": 0.2}}
    values |= {"limit": {"train": None, "val": None, "test": None}, "side": None}
    return Folder.model_validate(values | changes)


def embedded(channels: int) -> Embedded:
    return Embedded.model_validate(COMMON | {"name": "embedded", "watch": "", "channels": channels})


@pytest.mark.parametrize("channels", [1, 3])
def test_embedded_photographs_are_split_by_image(tmp_path, channels):
    rows = fetch(embedded(channels), tmp_path)
    assert {row.split for row in rows} == {"train", "val", "test"}
    assert len({row.sha256 for row in rows}) == len(rows)
    for row in rows:
        pixels = dataset_images.read(tmp_path / row.path, channels)
        assert pixels.shape[:2] == (row.height, row.width)
        assert arrays.pixel_hash(pixels) == row.sha256
        assert pixels.std() > 10


def test_both_views_of_a_scene_are_in_one_split(tmp_path):
    rows = fetch(embedded(3), tmp_path)
    assert len({row.split for row in rows if row.image.startswith("motorcycle")}) == 1


def test_manifest_round_trip(tmp_path, photos):
    rows = fetch(folder(photos), tmp_path / "raw")
    assert manifest.read(tmp_path / "raw") == rows
    assert manifest.read(tmp_path / "raw", "val") == [row for row in rows if row.split == "val"]


def test_folder_split_depends_on_the_seed_only(tmp_path, photos):
    def splits(seed: int) -> dict[str, str]:
        return {row.image: row.split for row in fetch(folder(photos, seed=seed), tmp_path / f"raw{seed}")}

    assert splits(0) == splits(0)
    assert any(splits(0) != splits(seed) for seed in range(1, 6))
    assert sorted(splits(0).values()).count("test") == 1


def test_subfolders_are_read_and_file_names_are_unique(tmp_path, photos):
    (photos / "deep").mkdir()
    for name in ("a b.png", "a_b.png", "ä.png"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (70, 70, 3), np.uint8)
        Image.fromarray(pixels ^ ord(name[1])).save(photos / "deep" / name)
    rows = fetch(folder(photos), tmp_path / "raw")
    assert len({row.path for row in rows}) == len(rows) == 9
    assert "deep/a b.png" in {row.image for row in rows}


def test_linked_subfolders_are_read_and_loops_end(tmp_path, photos):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (70, 70, 3), np.uint8)).save(elsewhere / "a.png")
    (photos / "linked").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(photos, target_is_directory=True)
    (photos / "again").symlink_to(elsewhere, target_is_directory=True)
    (photos / "own").mkdir()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (70, 70, 3), np.uint8)).save(photos / "own" / "b.png")
    (photos / "latest").symlink_to("own", target_is_directory=True)
    found = {row.image for row in fetch(folder(photos), tmp_path / "raw")}
    assert {name.rpartition("/")[2] for name in found if "/" in name} == {"a.png", "b.png"}
    assert len(found) == 2 + len([path for path in photos.iterdir() if path.is_file()])


def test_a_missing_an_empty_and_a_small_folder_are_refused(tmp_path, photos):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        fetch(folder(tmp_path / "nowhere"), tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: only 0 to split"):
        fetch(folder(tmp_path / "empty"), tmp_path / "raw")


def test_identical_pixels_in_two_splits_are_refused(tmp_path, photos):
    rows = fetch(folder(photos), tmp_path / "raw")
    test = next(row.image for row in rows if row.split == "test")
    for n in range(8):  # some of them in another split
        Image.open(photos / test).save(photos / f"copy{n}.png")
    with pytest.raises(UserError, match="identical pixels") as error:
        fetch(folder(photos), tmp_path / "raw")
    assert "copy" in str(error.value)


def test_a_damaged_image_is_named(tmp_path, photos):
    (photos / "photo1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"photo1\.jpg"):
        fetch(folder(photos), tmp_path / "raw")
