"""Leak detection: duplicates across splits and benchmark images in training are found; different images are not."""

import os
import tarfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from denoiselab.config.data import Folder
from denoiselab.data import leaks, manifest
from denoiselab.data.fetch import fetch
from denoiselab.data.manifest import Row, Source
from denoiselab.data.readers import folder
from denoiselab.data.readers.sources import table
from denoiselab.imaging import dataset_images
from denoiselab.runtime.errors import UserError
from tests.conftest import photograph

# Modified copies of a photograph (H, W, 3), as found in data sets.
VERSIONS = {
    "lossless.bmp": lambda path, pixels: Image.fromarray(pixels).save(path),
    "quality50.jpg": lambda path, pixels: Image.fromarray(pixels).save(path, quality=50),
    "half.png": lambda path, pixels: (
        Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2)).save(path)
    ),
    "bright.png": lambda path, pixels: Image.fromarray(cv2.convertScaleAbs(pixels, alpha=1, beta=30)).save(path),
    "dark.png": lambda path, pixels: Image.fromarray(cv2.convertScaleAbs(pixels, alpha=0.7, beta=0)).save(path),
    "gray.png": lambda path, pixels: Image.fromarray(dataset_images.gray(pixels)).save(path),
}
DIFFERENT = ("chelsea", "coffee", "brick", "grass", "gravel", "ihc", "moon", "camera", "motorcycle_left", "retina")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> None:
    """Keep downloads and scratch folders out of the project."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Calls fetch with files in given splits, and the settings allow_leak and drop_leaks."""

    def call(*placed: tuple[str, Path], allow: bool = False, drop: bool = False) -> list[Row]:
        found = [Source(path.name, split, "", path, source="folder") for split, path in placed]
        monkeypatch.setattr(folder, "images", lambda data, sources: (sources.own("folder"), found)[1])
        values = {"name": "folder", "watch": "x", "path": "x", "channels": 3, "seed": 0, "side": None}
        values |= {"split": {"train": 0.6, "val": 0.2, "test": 0.2}, "limit": dict.fromkeys(manifest.SPLITS)}
        values |= {"training": [], "tests": [], "test_folder": "conf/data/embedded.yaml"}
        data = Folder.model_validate(values | {"allow_leak": allow, "drop_leaks": drop})
        return fetch(data, tmp_path / "raw")

    return call


def small(name: str) -> np.ndarray:
    """One of scikit-image's photographs at half size, for speed."""
    pixels = photograph(name)
    return cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=cv2.INTER_AREA)


def shipped(name: str, path: Path) -> Path:
    """Save `small(name)` as path/name.png."""
    Image.fromarray(small(name)).save(path / f"{name}.png")
    return path / f"{name}.png"


@pytest.fixture
def others(tmp_path) -> list[tuple[str, Path]]:
    """One photograph for each split."""
    return [(s, shipped(n, tmp_path)) for s, n in zip(manifest.SPLITS, ("chelsea", "coffee", "brick"), strict=True)]


def on_white(name: str) -> np.ndarray:
    """A photograph on a white background, like product photographs."""
    canvas = np.full((400, 400, 3), 255, np.uint8)
    canvas[100:300, 100:300] = cv2.resize(
        dataset_images.convert(photograph(name), 3), (200, 200), interpolation=cv2.INTER_AREA
    )
    return canvas


@pytest.mark.parametrize("places", [("train", "test"), ("train", "val"), ("val", "test")])
@pytest.mark.parametrize("version", VERSIONS)
def test_versions_of_a_photograph_in_two_splits_are_refused(tmp_path, offered, others, places, version):
    shipped("astronaut", tmp_path)
    VERSIONS[version](tmp_path / version, small("astronaut"))
    for one, two in (("astronaut.png", version), (version, "astronaut.png")):
        with pytest.raises(UserError) as error:
            offered(*others, (places[0], tmp_path / one), (places[1], tmp_path / two))
        message = str(error.value)
        assert f"leak: {one} ({places[0]}) and {two} ({places[1]}) " in message
        assert ("have identical pixels" in message) == (version == "lossless.bmp")
        assert "data.drop_leaks=true" in message
        assert "data.allow_leak=true" in message
        assert "\n" not in message


COPIES = {
    "turned": lambda pixels: np.rot90(pixels),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "turned and mirrored": lambda pixels: np.rot90(pixels, 3)[:, ::-1],
    "cropped": lambda pixels: pixels[60:200, 40:200],
    "cropped, mirrored and darker": lambda pixels: (0.7 * pixels[60:, 40:220][:, ::-1]).astype(np.uint8),
}


@pytest.mark.parametrize("places", [("train", "test"), ("val", "test")])
@pytest.mark.parametrize("version", COPIES)
def test_copies_that_a_hash_does_not_find_are_refused(tmp_path, offered, others, places, version):
    Image.fromarray(np.ascontiguousarray(COPIES[version](small("astronaut")))).save(tmp_path / "copy.png")
    for one, two in (("astronaut.png", "copy.png"), ("copy.png", "astronaut.png")):
        shipped("astronaut", tmp_path)
        with pytest.raises(UserError, match="local features agree") as error:
            offered(*others, (places[0], tmp_path / one), (places[1], tmp_path / two))
        assert f"leak: {one} ({places[0]}) and {two} ({places[1]}) show the same" in str(error.value)


def test_duplicates_within_a_split_are_no_leak(tmp_path, offered, others):
    one = shipped("astronaut", tmp_path)
    VERSIONS["quality50.jpg"](tmp_path / "copy.jpg", small("astronaut"))
    assert len(offered(*others, ("train", one), ("train", tmp_path / "copy.jpg"))) == 5


@pytest.mark.parametrize("version", VERSIONS)
def test_duplicates_on_a_white_background_are_found(tmp_path, offered, others, version):
    """Rounding in flat areas must not count as a difference."""
    Image.fromarray(on_white("astronaut")).save(tmp_path / "astronaut.png")
    VERSIONS[version](tmp_path / version, on_white("astronaut"))
    with pytest.raises(UserError, match="leak: "):
        offered(*others, ("train", tmp_path / "astronaut.png"), ("test", tmp_path / version))


def test_different_photographs_are_no_leak(tmp_path, offered):
    paths = [shipped(name, tmp_path) for name in ("astronaut", *DIFFERENT[:-1])]
    placed = [(manifest.SPLITS[n % 3], path) for n, path in enumerate(paths)]
    assert len(offered(*placed)) == len(paths)
    assert manifest.dataset(tmp_path / "raw")["leaks"] == []
    assert manifest.dataset(tmp_path / "raw")["dropped"] == []


def test_different_images_on_a_white_background_are_no_leak():
    """Agreement of flat areas must not count as similarity."""
    names = [name for name in DIFFERENT if name != "retina"]
    hashes = {name: leaks.difference_hash(on_white(name)) for name in names}
    for one, two in combinations(names, 2):
        assert leaks.find([row(one, "train", hashes[one]), row(two, "test", hashes[two])]) == []


def row(image: str, split: str, dhash: str, **changes) -> Row:
    made = Row(image, split, "", image, "", "", "", image, "", dhash, 100, 100, "folder")
    return replace(made, **changes)


def test_allowed_leaks_are_listed(tmp_path, offered, others):
    one = shipped("astronaut", tmp_path)
    VERSIONS["quality50.jpg"](tmp_path / "copy.jpg", small("astronaut"))
    rows = offered(*others, ("train", one), ("test", tmp_path / "copy.jpg"), allow=True)
    assert {r.image for r in rows} >= {"astronaut.png", "copy.jpg"}
    notes = manifest.dataset(tmp_path / "raw")
    assert len(notes["leaks"]) == 1
    assert notes["leaks"][0].startswith("astronaut.png (train) and copy.jpg (test) are near duplicates (")
    assert notes["dropped"] == []


def test_images_of_the_earlier_split_are_dropped_and_listed(tmp_path, offered, others):
    one = shipped("astronaut", tmp_path)
    for version in ("half.png", "quality50.jpg"):
        VERSIONS[version](tmp_path / version, small("astronaut"))
    three = [("test", one), ("train", tmp_path / "half.png"), ("val", tmp_path / "quality50.jpg")]
    rows = offered(*others, *three, drop=True)
    assert {r.image for r in rows} == {"chelsea.png", "coffee.png", "brick.png", "astronaut.png"}
    assert manifest.read(tmp_path / "raw") == rows
    assert {r.path for r in rows} == {
        p.relative_to(tmp_path / "raw").as_posix() for p in (tmp_path / "raw").rglob("*.png")
    }
    notes = manifest.dataset(tmp_path / "raw")
    assert notes["dropped"] == ["half.png", "quality50.jpg"]
    assert notes["leaks"] == []


def test_a_split_that_becomes_empty_is_refused(tmp_path, offered, others):
    one = shipped("astronaut", tmp_path)
    Image.open(one).save(tmp_path / "copy.png")
    with pytest.raises(UserError, match="data folder: no image in the val split"):
        offered(others[0], ("val", one), ("test", tmp_path / "copy.png"), drop=True)


def test_a_split_without_images_is_refused(offered, others):
    for n, split in enumerate(manifest.SPLITS):
        with pytest.raises(UserError, match=f"^data folder: no image in the {split} split$"):
            offered(*others[:n], *others[n + 1 :])


def test_the_hash_is_the_same_in_gray_and_colour():
    pixels = photograph("coffee")
    flipped = np.ascontiguousarray(pixels[:, ::-1])
    assert leaks.difference_hash(pixels) == leaks.difference_hash(pixels.copy())
    assert len(leaks.difference_hash(pixels)) == 64
    gray = Row("g", "train", "", "g", "", "", "", "1", "", leaks.difference_hash(dataset_images.gray(pixels)), 1, 1, "")
    colour = replace(gray, image="c", split="test", sha256="2", dhash=leaks.difference_hash(pixels))
    assert [leak.bits <= 5 for leak in leaks.find([gray, colour])] == [True]
    assert leaks.find([gray, replace(colour, dhash=leaks.difference_hash(flipped))]) == []


def test_all_leaks_among_many_images_are_found(monkeypatch):
    """With more images than are compared at once."""
    monkeypatch.setattr(leaks, "CHUNK", 3)
    hashes = [np.random.default_rng(n).bytes(32).hex() for n in range(20)]
    rows = [row(f"a{n}", "train", h, sha256=str(n)) for n, h in enumerate(hashes[:10])]
    rows += [row(f"b{n}", "test", h, sha256=str(n)) for n, h in enumerate(hashes[5:], 5)]
    assert leaks.find(rows) == [leaks.Leak(f"a{n}", "train", f"b{n}", "test", -1) for n in range(5, 10)]
    assert "(and 4 more)" in leaks.refusal(leaks.find(rows))


# BSDS500's val split


def changed(dhash: str, bits: int) -> str:
    """The hash with some of its bits flipped."""
    return f"{int(dhash, 16) ^ ((1 << bits) - 1):064x}"


@pytest.mark.parametrize(
    ("image", "size", "bits", "found"),
    [
        ("mine.png", (200, 100), 30, True),
        ("mine.png", (481, 321), 60, False),
        ("train/12084.png", (481, 321), 60, True),
        ("12084.jpg", (321, 481), 60, True),
        ("12084.jpg", (64, 64), 60, False),
        ("12084.jpg", (481, 321), 100, False),
        ("112084.jpg", (481, 321), 60, False),
    ],
)
def test_benchmark_images_are_found_by_hash_name_and_size(image, size, bits, found):
    known = next(entry for entry in table("bsds500_val") if entry["id"] == "12084")
    mine = row(image, "train", changed(known["dhash"], bits), width=size[0], height=size[1])
    leaked = leaks.find([mine])
    assert bool(leaked) == found
    if found:
        assert leaked == [leaks.Leak(image, "train", "12084.jpg", "BSDS500 val", bits)]
    assert leaks.find([replace(mine, split="test")]) == []


def test_a_different_photograph_with_the_name_of_a_benchmark_image_is_no_leak(tmp_path, offered, others, astronaut):
    assert "12084" in {entry["id"] for entry in table("bsds500_val")}
    for height, width in ((64, 64), (321, 481)):
        Image.fromarray(astronaut[:height, :width]).save(tmp_path / "12084.png")
        assert len(offered(*others, ("train", tmp_path / "12084.png"))) == 4


@pytest.fixture(scope="module")
def benchmark_image(tmp_path_factory) -> Path:
    """101085.jpg of BSDS500's val split."""
    mirror = os.environ.get("DENOISELAB_MIRROR")
    archives = sorted((Path(mirror) / "bsds500").glob("*.tar.gz")) if mirror else []
    if not archives:
        pytest.skip("DENOISELAB_MIRROR is not set or has no bsds500")
    path = tmp_path_factory.mktemp("bsds500") / "101085.jpg"
    with tarfile.open(archives[0]) as tar:
        name = next(n for n in tar.getnames() if n.endswith("BSDS500/data/images/val/101085.jpg"))
        handle = tar.extractfile(name)
        assert handle
        path.write_bytes(handle.read())
    return path


def test_the_files_of_a_benchmark_are_found(benchmark_image, offered, others):
    with pytest.raises(UserError) as error:
        offered(*others, ("train", benchmark_image))
    assert "leak: 101085.jpg (train) and 101085.jpg (BSDS500 val) have identical pixels" in str(error.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_of_a_benchmark_image_are_found(tmp_path, benchmark_image, offered, others, version):
    VERSIONS[version](tmp_path / version, np.asarray(Image.open(benchmark_image)))
    with pytest.raises(UserError) as error:
        offered(*others, ("train", tmp_path / version))
    assert f"leak: {version} (train) and 101085.jpg (BSDS500 val) " in str(error.value)
    rows = offered(*others, ("train", tmp_path / version), drop=True)
    assert version not in {r.image for r in rows}
    assert manifest.dataset(tmp_path / "raw")["dropped"] == [version]


def test_flat_images_are_duplicates_only_if_identical():
    pages = {"white": np.full((60, 80), 255, np.uint8), "black": np.zeros((60, 80), np.uint8)}
    pages["down"] = np.repeat(np.linspace(0, 255, 60).astype(np.uint8)[:, None], 80, axis=1)
    rows = [row(name, "train", leaks.difference_hash(pixels)) for name, pixels in pages.items()]
    rows += [replace(one, image=f"other {one.image}", split="test", sha256="another") for one in rows]
    assert leaks.find(rows) == []
    found = leaks.find([rows[0], replace(rows[0], image="copy", split="test")])
    assert [(leak.image, leak.other, leak.bits) for leak in found] == [("white", "copy", -1)]
