"""Readers, tested through fetch with small archives and folders in the real formats."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image
from pydantic import TypeAdapter

from denoiselab.config.data import Data, DataBlock
from denoiselab.data import manifest
from denoiselab.data.fetch import _slug, fetch
from denoiselab.data.readers import bsd400_gray, bsds500, further_sets, polyu, sources
from denoiselab.imaging import arrays, dataset_images
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT

CLASSES = ["airplane", "bird", "cat"]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """Keep downloads and scratch folders out of the project; no mirror."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.delenv("DENOISELAB_MIRROR", raising=False)
    return tmp_path / "root"


def block(name: str, **changes) -> Data:
    """A block of conf/data/ with changed keys."""
    common = yaml.safe_load((ROOT / "conf/config.yaml").read_text(encoding="utf-8"))["data"]
    tree = yaml.safe_load((ROOT / f"conf/data/{name}.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(Data).validate_python(common | tree.get("data", tree) | changes)


def from_archive(name: str, archive: Path, **changes) -> Data:
    return block(name, **{name: {"url": str(archive), "sha256": None}}, **changes)


def own_files(name: str, path: Path, **changes) -> Data:
    return block(name, path=str(path), watch=str(path), **changes)


def refused(data: Data, out: Path, *words: str) -> None:
    """fetch must fail with one line that contains all `words`, and leave nothing unpacked."""
    with pytest.raises(UserError) as error:
        fetch(data, out)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert not list(out.parent.glob("root/.downloads/unpacked/"))


def noise(seed: int, height: int = 32, width: int = 32) -> np.ndarray:
    """A unique random image."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(pixels: np.ndarray, kind: str = "png", **options) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as container:
        for name, content in members.items():
            container.writestr(name, content)
    return path


def stored(out: Path, row: manifest.Row) -> np.ndarray:
    return np.asarray(Image.open(out / row.path))


# CIFAR-10 and STL-10


def cifar10_members() -> dict[str, bytes]:
    """Three records per batch, one per class; record r of batch b is noise(10 * b + r)."""
    members = {"batches.meta.txt": "\n".join([*CLASSES, "", ""]).encode()}
    for b, stem in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        records = b""
        for r in range(3):
            red, green, blue = np.moveaxis(noise(10 * b + r), 2, 0)
            records += bytes([r]) + b"".join(plane[y].tobytes() for plane in (red, green, blue) for y in range(32))
        members[f"{stem}.bin"] = records
    return {f"cifar-10-batches-bin/{name}": content for name, content in members.items()}


def test_cifar10(tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("an untrusted pickle was opened")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, never)
    archive = make_tar(tmp_path / "cifar-10-binary.tar.gz", cifar10_members())
    out = tmp_path / "raw"
    rows = fetch(from_archive("cifar10", archive, val_share=0.4), out)
    assert len(rows) == 18
    for row in rows:
        stem, _, number = row.image.partition("/")
        batch = 5 if stem == "test_batch" else int(stem[-1]) - 1
        assert np.array_equal(stored(out, row), noise(10 * batch + int(number)))
        assert row.label == CLASSES[int(number)]
        assert (row.split == "test") == (stem == "test_batch")
        assert row.sets == ("CIFAR-10" if stem == "test_batch" else "")
    for split, each in (("train", 3), ("val", 2), ("test", 1)):
        assert Counter(row.label for row in rows if row.split == split) == dict.fromkeys(CLASSES, each)
    card = manifest.dataset(out)["sources"]["cifar10"]
    assert card["licence"] == "none stated"
    assert "Krizhevsky" in card["citation"]
    assert card["url"] == str(archive)
    assert card["sha256"] == files.sha256(archive)
    assert card["verified"] == "no published checksum"


def test_cifar10_in_gray(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", cifar10_members())
    rows = fetch(from_archive("cifar10", archive, channels=1), tmp_path / "raw")
    first = next(row for row in rows if row.image == "data_batch_1/00000")
    assert np.array_equal(stored(tmp_path / "raw", first), dataset_images.gray(noise(0)))


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("data_batch_2.bin", lambda content: content[:-1], ("data_batch_2.bin: 9218 bytes",)),
        ("data_batch_2.bin", lambda content: b"", ("data_batch_2.bin: 0 bytes",)),
        ("data_batch_3.bin", lambda content: b"\x03" + content[1:], ("data_batch_3.bin: class 3",)),
        ("batches.meta.txt", None, ("batches.meta.txt is missing from", "a.tar.gz")),
        ("data_batch_4.bin", None, ("data_batch_4.bin is missing from", "a.tar.gz")),
        ("test_batch.bin", None, ("test_batch.bin is missing from", "a.tar.gz")),
    ],
)
def test_a_damaged_cifar10_is_refused(tmp_path, file, change, words):
    members = cifar10_members()
    content = members.pop(f"cifar-10-batches-bin/{file}")
    if change:
        members[f"cifar-10-batches-bin/{file}"] = change(content)
    archive = make_tar(tmp_path / "a.tar.gz", members)
    refused(from_archive("cifar10", archive), tmp_path / "raw", "data cifar10: ", *words)


def test_the_pickled_cifar10_is_refused(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", {"cifar-10-batches-py/data_batch_1": pickle.dumps({"data": 1})})
    refused(from_archive("cifar10", archive), tmp_path / "raw", "batches.meta.txt is missing from")


def test_md5_is_checked(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", cifar10_members())
    right = hashlib.md5(archive.read_bytes()).hexdigest()
    data = block("cifar10", cifar10={"url": str(archive), "sha256": None, "md5": right})
    fetch(data, tmp_path / "raw")
    assert manifest.dataset(tmp_path / "raw")["sources"]["cifar10"]["verified"] == "the archive"
    data = block("cifar10", cifar10={"url": str(archive), "sha256": None, "md5": "0" * 32})
    refused(data, tmp_path / "raw", f"{archive}: md5 is {right}, expected {'0' * 32}")


def test_sha256_is_checked(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", cifar10_members())
    data = block("cifar10", cifar10={"url": str(archive), "sha256": "0" * 64})
    refused(data, tmp_path / "raw", f"{archive}: sha256 is {files.sha256(archive)}, expected {'0' * 64}")


def stl10_members() -> dict[str, bytes]:
    """Three training images per class and one test image; image n is noise(n, 96, 96) of class n % 3."""
    members = {"class_names.txt": "\n".join([*CLASSES, ""]).encode(), "unlabeled_X.bin": b"not looked at"}
    for split, numbers in (("train", range(9)), ("test", range(9, 12))):
        images = [noise(n, 96, 96) for n in numbers]
        members[f"{split}_X.bin"] = b"".join(p[:, x, c].tobytes() for p in images for c in range(3) for x in range(96))
        members[f"{split}_y.bin"] = bytes(n % 3 + 1 for n in numbers)
    return {f"stl10_binary/{name}": content for name, content in members.items()}


def test_stl10(tmp_path):
    out = tmp_path / "raw"
    rows = fetch(from_archive("stl10", make_tar(tmp_path / "a.tar.gz", stl10_members())), out)
    assert len(rows) == 12
    for row in rows:
        own, _, number = row.image.partition("/")
        n = int(number) + (9 if own == "test" else 0)
        assert np.array_equal(stored(out, row), noise(n, 96, 96))
        assert row.label == CLASSES[n % 3]
        assert (row.split == "test") == (own == "test")
        assert row.sets == ("STL-10" if own == "test" else "")
    for split, each in (("train", 2), ("val", 1), ("test", 1)):
        assert Counter(row.label for row in rows if row.split == split) == dict.fromkeys(CLASSES, each)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("train_X.bin", lambda content: content[:-1], ("train_X.bin: 248831 bytes are not 9 images",)),
        ("test_y.bin", lambda content: content[:-1], ("test_X.bin: 82944 bytes are not 2 images",)),
        ("train_y.bin", lambda content: b"\x00" + content[1:], ("train_y.bin: classes must be 1 to 3",)),
        ("train_y.bin", lambda content: b"\x04" + content[1:], ("train_y.bin: classes must be 1 to 3",)),
        ("test_y.bin", None, ("test_y.bin is missing",)),
        ("test_X.bin", None, ("test_X.bin is missing",)),
        ("class_names.txt", None, ("class_names.txt is missing from", "a.tar.gz")),
    ],
)
def test_a_damaged_stl10_is_refused(tmp_path, file, change, words):
    members = stl10_members()
    content = members.pop(f"stl10_binary/{file}")
    if change:
        members[f"stl10_binary/{file}"] = change(content)
    archive = make_tar(tmp_path / "a.tar.gz", members)
    refused(from_archive("stl10", archive), tmp_path / "raw", "data stl10: ", *words)


# hair


def hair_members(count: int = 10) -> dict[str, bytes]:
    """Input n is noise(n), its target noise(100 + n); targets sort in reverse order."""
    members = {}
    table = "input,target\n"
    for n in range(count):
        one, two = f"{n:06d}.png", f"{count - n:06d}b.png"
        table += f"{one},{two}\n"
        members[f"set/input/{one}"] = encoded(noise(n))
        members[f"set/target/{two}"] = encoded(noise(100 + n))
    return {"set/labels.csv": table.encode("utf-8-sig")} | members


def test_hair_pairs_follow_its_table(tmp_path):
    out = tmp_path / "raw"
    rows = fetch(from_archive("hair", make_zip(tmp_path / "a.zip", hair_members())), out)
    assert Counter(row.split for row in rows) == {"train": 7, "val": 1, "test": 2}
    assert sorted(row.image for row in rows) == [f"{n:06d}.png" for n in range(10)]
    for row in rows:
        n = int(row.image.removesuffix(".png"))
        noisy = np.asarray(Image.open(out / row.noisy))
        assert np.array_equal(noisy, noise(n))
        assert np.array_equal(stored(out, row), noise(100 + n))
        assert row.noisy_sha256 == arrays.pixel_hash(noisy)
        assert row.sets == ("hair" if row.split == "test" else "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"000003.png,", b"lost.png,", ("labels.csv, line 5: input 'lost.png' is not in the archive",)),
        (b",000007b.png", b",lost.png", ("labels.csv, line 5: target 'lost.png' is not in the archive",)),
        (b",000007b.png", b"", ("labels.csv, line 5: target '' is not in the archive",)),
        (b"000003.png,", b"../../000003.png,", ("line 5: input '../../000003.png' is not in the archive",)),
        (b"input,target", b"noisy,clean", ("labels.csv must have the columns input and target",)),
        (b"000003.png,", b"000002.png,", ("line 5: input '000002.png' has two targets",)),
        (b"000003.png,", b"\xff", ("labels.csv cannot be read",)),
    ],
)
def test_an_invalid_table_of_hair_is_refused(tmp_path, old, new, words):
    members = hair_members()
    assert old in members["set/labels.csv"]
    members["set/labels.csv"] = members["set/labels.csv"].replace(old, new)
    archive = make_zip(tmp_path / "a.zip", members)
    refused(from_archive("hair", archive), tmp_path / "raw", "data hair: ", *words)


def test_hair_without_a_table_or_with_few_pairs_is_refused(tmp_path):
    members = hair_members(2)
    archive = make_zip(tmp_path / "a.zip", members)
    refused(from_archive("hair", archive), tmp_path / "raw", f"data hair: {archive}", "only 2 to split")
    del members["set/labels.csv"]
    archive = make_zip(tmp_path / "b.zip", members)
    refused(from_archive("hair", archive), tmp_path / "raw", "b.zip has 0 files labels.csv")


@pytest.mark.parametrize("side", [None, 16])
def test_a_pair_of_different_sizes_is_refused(tmp_path, side):
    """Even if both would be reduced to the same size."""
    members = hair_members() | {"set/target/000007b.png": encoded(noise(103, 64, 64))}
    archive = make_zip(tmp_path / "a.zip", members)
    words = ("000003.png and ", "000007b.png: a pair of different sizes, 32x32 and 64x64")
    refused(from_archive("hair", archive, side=side), tmp_path / "raw", *words)


# AFHQ


def afhq_members(own_test: str = "val") -> dict[str, bytes]:
    members = {"afhq/README.md": b"hello"}
    for n, (split, label) in enumerate([(s, c) for s in ("train", own_test) for c in ("cat", "dog")]):
        for m in range(4 if split == "train" else 2):
            members[f"afhq/{split}/{label}/{m}.jpg"] = encoded(noise(10 * n + m), "jpeg", quality=95)
    return members


@pytest.mark.parametrize("own_test", ["val", "test"])
def test_afhq(tmp_path, own_test):
    members = afhq_members(own_test)
    rows = fetch(from_archive("afhq", make_zip(tmp_path / "a.zip", members)), tmp_path / "raw")
    assert Counter((row.split, row.label) for row in rows) == {
        **{("train", "cat"): 3, ("train", "dog"): 3, ("val", "cat"): 1, ("val", "dog"): 1},
        **{("test", "cat"): 2, ("test", "dog"): 2},
    }
    for row in rows:
        own, label, _ = row.image.split("/")
        assert (row.split == "test") == (own == own_test)
        assert row.sets == ("AFHQ-val" if own == own_test else "")
        assert row.label == label
        decoded = np.asarray(Image.open(io.BytesIO(members[f"afhq/{row.image}.jpg"])))
        assert np.array_equal(stored(tmp_path / "raw", row), decoded)


def test_macos_metadata_in_a_zip_is_ignored(tmp_path):
    members = afhq_members() | {"__MACOSX/afhq/train/cat/._0.jpg": b"junk", "afhq/train/cat/._1.jpg": b"junk"}
    rows = fetch(from_archive("afhq", make_zip(tmp_path / "afhq.zip", members)), tmp_path / "raw")
    assert len(rows) == len(afhq_members()) - 1  # without the README


def test_a_sample_is_counted_before_the_limit(tmp_path):
    archive = from_archive("afhq", make_zip(tmp_path / "a.zip", afhq_members()))
    data = archive.model_copy(update={"limit": archive.limit.model_copy(update={"train": 2})})
    assert len(fetch(data, tmp_path / "raw")) < len(afhq_members()) - 1
    card = manifest.dataset(tmp_path / "raw")["sources"]["afhq"]
    assert (card["held"], card["published"]) == (12, 16_130)


def test_a_wrong_afhq_is_refused(tmp_path):
    out = tmp_path / "raw"
    archive = make_zip(tmp_path / "flat.zip", {"cat.jpg": encoded(noise(0), "jpeg")})
    refused(from_archive("afhq", archive), out, "flat.zip has no folders train/<class> and val/<class>")
    members = {name: content for name, content in afhq_members().items() if "/val/" not in name}
    archive = make_zip(tmp_path / "half.zip", members)
    refused(from_archive("afhq", archive), out, "data afhq: no image in the test split")
    members = afhq_members()
    members["afhq/train/cat/1.jpg"] = members["afhq/train/cat/1.jpg"][:400]
    refused(from_archive("afhq", make_zip(tmp_path / "cut.zip", members)), out, "train/cat/1.jpg: damaged image")
    members = afhq_members() | {"afhq/train/cat/1.png": encoded(noise(99))}
    archive = make_zip(tmp_path / "twice.zip", members)
    refused(from_archive("afhq", archive), out, "1.jpg and ", "1.png: images of the same name, 'train/cat/1'")


@pytest.mark.parametrize("name", ["cifar10", "stl10", "hair", "afhq"])
def test_other_files_than_archives_are_refused(tmp_path, name):
    (tmp_path / "page.html").write_text("<html>Sign in</html>")
    data = from_archive(name, tmp_path / "page.html")
    refused(data, tmp_path / "raw", "page.html: not a zip or tar archive")
    refused(from_archive(name, tmp_path / "lost.zip"), tmp_path / "raw", "lost.zip: no such file")


# FFHQ


def test_ffhq_as_folder_and_as_zip(tmp_path):
    members = {f"thumbnails128x128/00000/{n:05d}.png": encoded(noise(n)) for n in range(5)}
    for name, content in members.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    archive = make_zip(tmp_path / "faces.zip", members | {"LICENSE.txt": b"CC"})
    for path in (tmp_path / "thumbnails128x128", archive):
        out = tmp_path / "raw"
        rows = fetch(own_files("ffhq", path), out)
        assert Counter(row.split for row in rows) == {"train": 3, "val": 1, "test": 1}
        assert {row.label for row in rows} == {""}
        for row in rows:
            assert np.array_equal(stored(out, row), noise(int(row.image[-9:-4])))
            assert row.sets == ("ffhq" if row.split == "test" else "")
    assert manifest.dataset(out)["sources"]["ffhq"]["sha256"] == files.sha256(archive)


def test_missing_ffhq_is_refused_with_instructions(tmp_path):
    words = ("data.path: ", "nowhere does not exist", "github.com/NVlabs/ffhq-dataset", "CC BY-NC-SA 4.0")
    refused(own_files("ffhq", tmp_path / "nowhere"), tmp_path / "raw", *words)
    archive = make_zip(tmp_path / "few.zip", {"a.png": encoded(noise(0))})
    refused(own_files("ffhq", archive), tmp_path / "raw", f"data.path: {archive}: only 1 to split")


# pairs


def test_pairs_are_matched_by_name_not_order(tmp_path):
    names = ["a", "a-1", "a_1", "a0", "B", "deep/a"]
    for n, name in enumerate(names):
        save(tmp_path / f"p/noisy/{name}.png", noise(n))
        save(tmp_path / f"p/clean/{name}_mean.bmp", noise(100 + n))
    listed = [sorted(p.name.partition(".")[0] for p in (tmp_path / "p" / k).glob("*.*")) for k in ("noisy", "clean")]
    assert [name.removesuffix("_mean") for name in listed[1]] != listed[0]  # the orders differ
    out = tmp_path / "raw"
    rows = fetch(own_files("pairs", tmp_path / "p", clean_suffix="_mean", allow_misfit=True), out)
    assert {row.image for row in rows} == set(names)
    for row in rows:
        n = names.index(row.image)
        assert np.array_equal(stored(out, row), noise(100 + n))
        assert np.array_equal(np.asarray(Image.open(out / row.noisy)), noise(n))
    assert manifest.dataset(out)["sources"]["pairs"]["licence"] == "yours"


def test_pairs_in_one_folder_are_matched_by_suffix(tmp_path):
    for n in range(4):
        save(tmp_path / f"p/{n}_real.png", noise(n))
        save(tmp_path / f"p/{n}_mean.png", noise(100 + n))
    keys = {"noisy": ".", "clean": ".", "noisy_suffix": "_real", "clean_suffix": "_mean", "allow_misfit": True}
    rows = fetch(own_files("pairs", tmp_path / "p", **keys), tmp_path / "raw")
    assert len(rows) == 4
    for row in rows:
        assert np.array_equal(stored(tmp_path / "raw", row), noise(100 + int(row.image)))
        assert np.array_equal(np.asarray(Image.open(tmp_path / "raw" / row.noisy)), noise(int(row.image)))


def test_pairs_in_one_folder_with_an_empty_suffix(tmp_path):
    for n in range(4):
        save(tmp_path / "photos" / f"{n}.png", noise(n))
        save(tmp_path / "photos" / f"{n}_clean.png", noise(10 + n))
    keys = {"noisy": ".", "clean": ".", "clean_suffix": "_clean", "allow_misfit": True}
    data = own_files("pairs", tmp_path / "photos", **keys)
    rows = fetch(data, tmp_path / "raw")
    assert [row.image for row in rows] == list("0123")
    for n, row in enumerate(rows):
        assert np.array_equal(stored(tmp_path / "raw", row), noise(10 + n))
        assert row.noisy_sha256 == arrays.pixel_hash(noise(n))


def test_invalid_pairs_are_refused(tmp_path):
    def made(name: str, one: list[str], two: list[str], **changes) -> Data:
        for kind, names in (("noisy", one), ("clean", two)):
            for n, file in enumerate(names):
                save(tmp_path / name / kind / file, noise(n + 50 * (kind == "clean")))
        return own_files("pairs", tmp_path / name, **changes)

    out = tmp_path / "raw"
    three = ["a.png", "b.png", "c.png"]
    five = [f"x{n}.png" for n in range(5)]
    refused(made("1", [*three, "d.png"], three), out, "data.path: no clean image for ", "noisy/d.png")
    refused(made("2", three, three + five), out, "no noisy image for ", "clean/x0.png, ", "clean/x2.png and 2 more")
    refused(made("3", [*three, "a.bmp"], three), out, "a.bmp and ", "a.png: images of the same name")
    refused(made("4", three[:2], three[:2]), out, f"data.path: {tmp_path / '4'}: pairs: only 2 to split")
    refused(made("5", three, []), out, "data.path: ", "clean is not a folder")
    refused(made("6", three, three, noisy="clean"), out, "clean/a.png: is both noisy and clean")
    data = made("7", three, three)
    save(tmp_path / "7/noisy/b.png", noise(7, 32, 40))
    refused(data, out, "noisy/b.png and ", "clean/b.png: a pair of different sizes, 40x32 and 32x32")


# folders


@pytest.mark.parametrize("files", [1, 3])
def test_every_image_of_a_stack_counts(tmp_path, files):
    """Those of one file are in one split and group, unless there are too few files."""
    frames = np.stack([noise(n)[:, :, 0] for n in range(5)])
    (tmp_path / "p").mkdir()
    for n in range(files):
        stack = frames if n == 0 else np.roll(frames, n, 1)
        tifffile.imwrite(tmp_path / "p" / f"{n}.tif", stack, photometric="minisblack")
    rows = fetch(own_files("folder", tmp_path / "p", channels=1), tmp_path / "raw")
    assert len(rows) == 5 * files and {row.split for row in rows} == {"train", "val", "test"}
    found = {row.image: row for row in rows}
    for n in range(5):
        assert np.array_equal(stored(tmp_path / "raw", found[f"0.tif#{n + 1:04d}"]), frames[n])
    if files == 3:
        assert len({(row.group, row.split) for row in rows}) == 3


def test_subfolders_are_classes_and_limits_are_balanced(tmp_path):
    for n in range(24):
        save(tmp_path / f"p/{('cat', 'dog', 'fox')[n % 3]}/deep/{n}.png", noise(n))
    limit = {"train": 6, "val": 2, "test": None}
    whole = fetch(own_files("folder", tmp_path / "p"), tmp_path / "raw")
    rows = fetch(own_files("folder", tmp_path / "p", limit=limit), tmp_path / "raw")
    assert all(row.label == row.image.split("/")[0] for row in rows)
    assert Counter(row.label for row in rows if row.split == "train") == {"cat": 2, "dog": 2, "fox": 2}
    assert Counter(row.split for row in rows) == {"train": 6, "val": 2, "test": 4}
    assert set(rows) <= set(whole)  # the limit does not change splits
    assert {row.path for row in rows} == {
        p.relative_to(tmp_path / "raw").as_posix() for p in (tmp_path / "raw").rglob("*.png")
    }


def test_side_reduces_and_never_enlarges(tmp_path, photos):
    save(photos / "small.png", noise(0, 20, 30))
    rows = fetch(own_files("folder", photos, side=48), tmp_path / "raw")
    sizes = {row.image: (row.width, row.height) for row in rows}
    assert sizes.pop("small.png") == (30, 20)
    assert set(sizes.values()) == {(56, 48)}
    for row in rows:
        assert stored(tmp_path / "raw", row).shape == (row.height, row.width, 3)
    photo = next(row for row in rows if row.image == "photo0.png")
    pixels = np.asarray(Image.open(photos / "photo0.png")).astype(float)
    averages = pixels.reshape(48, 2, 56, 2, 3).mean(axis=(1, 3))
    assert np.abs(stored(tmp_path / "raw", photo) - averages).max() <= 0.51


def test_an_image_too_small_for_the_metrics_is_refused(tmp_path, photos):
    save(photos / "tiny.png", noise(0, 15, 30))
    refused(
        own_files("folder", photos),
        tmp_path / "raw",
        "tiny.png: 30x15 is too small; each side must have 16 pixels or more",
    )


def test_a_cmyk_image_is_named(tmp_path, photos):
    Image.fromarray(noise(0)).convert("CMYK").save(photos / "print.jpg")
    refused(own_files("folder", photos), tmp_path / "raw", "print.jpg: is CMYK without a colour profile")


def test_file_names_are_safe_and_unique():
    ids = ["a_b", "a b", "a__b", "a/b", "_a_b", "ä", "ö", "..", "", "x" * 300 + "/1", "x" * 300 + "/2", "a.png"]
    slugs = [_slug(name) for name in ids]
    assert len(set(slugs)) == len(ids)
    assert slugs[0] == "a_b"
    for slug in slugs:
        assert slug and len(slug) < 100
        assert all(c.isascii() and (c.isalnum() or c in "_-") for c in slug)


# Verified file by file: BSDS500, Set12, PolyU; and the sample of CIFAR-10


@pytest.fixture
def published(monkeypatch):
    """Replaces a source's published checksums by those of test files, and BSD68's images by one."""
    known = {"bsd68_ids": [{"bsd68_file": "test001.png", "bsds500_val_id": "101085"}]}
    true = sources.table
    for module in (sources, bsds500, bsd400_gray):
        monkeypatch.setattr(module, "table", lambda name: known.get(name) or true(name))

    def publish(name: str, members: dict[str, bytes]) -> None:
        digests = {file: hashlib.sha256(content).hexdigest() for file, content in members.items()}
        known[name] = [{"file": file, "sha256": digest} for file, digest in digests.items()]

    publish.known = known
    return publish


def bsds500_members() -> dict[str, bytes]:
    places = {"train": ("11", "12", "13"), "test": ("21", "22"), "val": ("101085", "31")}
    return {
        f"BSDS500/data/images/{split}/{name}.jpg": encoded(noise(int(name), 190, 200), "jpeg")
        for split, names in places.items()
        for name in names
    }


def repository(path: Path, members: dict[str, bytes]) -> Path:
    return make_tar(
        path, {f"name-1a2b3c/{name}": content for name, content in members.items()} | {"name-1a2b3c/x": b""}
    )


def test_bsds500_tests_on_its_val(tmp_path, published):
    members = bsds500_members()
    published("bsds500", members)
    archive = repository(tmp_path / "a.tar.gz", members | {"BSDS500/data/groundTruth/val/31.mat": b"mat"})
    rows = fetch(from_archive("bsds500", archive, val_images=2), tmp_path / "raw")
    assert {row.image: row.sets for row in rows if row.split == "test"} == {
        "101085": "CBSD68 BSDS500-val",
        "31": "BSDS500-val",
    }
    assert {row.image for row in rows if row.split != "test"} == {"11", "12", "13", "21", "22"}
    assert Counter(row.split for row in rows) == {"train": 3, "val": 2, "test": 2}
    assert manifest.dataset(tmp_path / "raw")["sources"]["bsds500"]["verified"] == "every file"


def test_a_changed_or_missing_file_is_named(tmp_path, published):
    members = bsds500_members()
    published("bsds500", members)
    name = "BSDS500/data/images/test/21.jpg"
    archive = repository(tmp_path / "changed.tar.gz", members | {name: members[name] + b"\0"})
    words = (f"data bsds500: {name} differs from the published file (sha256)",)
    refused(from_archive("bsds500", archive, val_images=2), tmp_path / "raw", *words)
    archive = repository(tmp_path / "fewer.tar.gz", {k: v for k, v in members.items() if k != name})
    words = (f"data bsds500: {name} is missing from the archive",)
    refused(from_archive("bsds500", archive, val_images=2), tmp_path / "raw", *words)
    archive = make_tar(tmp_path / "other.tar.gz", {"something/else.txt": b"else"})
    refused(from_archive("bsds500", archive), tmp_path / "raw", "data bsds500: ", "is missing from the archive")


def test_a_file_that_is_not_listed_is_not_used(tmp_path, published):
    extra = bsds500_members() | {"BSDS500/data/images/train/999999.jpg": encoded(noise(999, 321, 481), "jpeg")}
    archive = repository(tmp_path / "bsds500.tar.gz", extra)
    published("bsds500", bsds500_members())
    rows = fetch(from_archive("bsds500", archive, val_images=1), tmp_path / "raw")
    assert "999999" not in {row.image for row in rows}
    assert len(rows) == len(bsds500_members())


def test_bsd400_gray_is_cropped_and_gray(tmp_path, published):
    members = bsds500_members()
    twelve = {f"data/Set12/{n:02d}.png": encoded(noise(n)[..., 0]) for n in (1, 2)}
    published("bsds500", members)
    published("set12", twelve)
    crops = [("train", "11", 0, 0), ("test", "21", 10, 20), ("test", "22", 3, 4)]
    published.known["train400_crops"] = [
        {"file": f"test_{n:03d}.png", "bsds500_id": name, "split": split, "top": str(top), "left": str(left)}
        for n, (split, name, top, left) in enumerate(crops, 1)
    ]
    archives = {
        name: {"url": str(repository(tmp_path / f"{name}.tar.gz", made)), "sha256": None}
        for name, made in (("bsds500", members), ("set12", twelve))
    }
    out = tmp_path / "raw"
    rows = {row.image: row for row in fetch(block("bsd400_gray", val_images=1, **archives), out)}
    assert Counter(row.split for row in rows.values()) == {"train": 2, "val": 1, "test": 3}
    for n, (split, name, top, left) in enumerate(crops, 1):
        file = io.BytesIO(members[f"BSDS500/data/images/{split}/{name}.jpg"])
        crop = np.asarray(Image.open(file))[top : top + 180, left : left + 180]
        assert np.array_equal(stored(out, rows[f"test_{n:03d}"]), dataset_images.gray(crop))
    assert rows["BSD68/test001"].sets == "BSD68"
    assert (rows["BSD68/test001"].width, rows["BSD68/test001"].height) == (200, 190)
    assert rows["Set12/01"].sets == "Set12"
    assert np.array_equal(stored(out, rows["Set12/02"]), noise(2)[..., 0])


def cid22_files(folder: Path, published) -> dict[str, np.ndarray]:
    """Six files in the layout of the repository, and their published checksums."""
    files = {f"training/{n}.png": noise(n) for n in range(4)} | {f"validation/{n}.png": noise(n) for n in (8, 9)}
    for name, pixels in files.items():
        save(folder / name, pixels)
    published("cid22", {name: (folder / name).read_bytes() for name in files})
    return files


def test_cid22_lists_single_files(tmp_path, published):
    files = cid22_files(tmp_path / "cid22", published)
    save(tmp_path / "cid22/training/drawing.png", noise(99))
    for channels in (3, 1):
        data = block("cid22", cid22={"url": str(tmp_path / "cid22")}, val_images=1, channels=channels)
        rows = {row.image: row for row in fetch(data, tmp_path / "raw")}
        assert Counter(row.split for row in rows.values()) == {"train": 3, "val": 1, "test": 2}
        assert {row.sets for row in rows.values() if row.split == "test"} == {"CID22"}
        for name, pixels in files.items():
            row = rows[Path(name).stem]
            assert (row.split == "test") == name.startswith("validation/")
            expected = pixels if channels == 3 else dataset_images.gray(pixels)
            assert np.array_equal(stored(tmp_path / "raw", row), expected)
    card = manifest.dataset(tmp_path / "raw")["sources"]["cid22"]
    assert card["licence"] == "CC BY-SA 4.0"
    assert card["verified"] == "every file"


def test_a_changed_or_missing_single_file_is_named(tmp_path, published):
    cid22_files(tmp_path / "cid22", published)
    data = block("cid22", cid22={"url": str(tmp_path / "cid22")}, val_images=1)
    save(tmp_path / "cid22/training/2.png", noise(77))
    refused(data, tmp_path / "raw", "training/2.png", "sha256")
    (tmp_path / "cid22/training/2.png").unlink()
    refused(data, tmp_path / "raw", "training/2.png")


def test_the_published_photographs_of_cid22_are_in_one_folder_each():
    names = [row["file"] for row in sources.table("cid22")]
    assert Counter(name.partition("/")[0] for name in names) == {"training": 183, "validation": 41}
    assert len({Path(name).name for name in names}) == len(names) == 224  # a mirror has no subfolders


@pytest.fixture
def shelf(tmp_path, published, monkeypatch) -> Path:
    """Mirror with small versions of all sources of registered test sets."""
    shelf = tmp_path / "mirror"
    monkeypatch.setenv("DENOISELAB_MIRROR", str(shelf))
    members, twelve = bsds500_members(), {"data/Set12/01.png": encoded(noise(1)[..., 0])}
    for name, made, address in (("bsds500", members, further_sets.BSDS500), ("set12", twelve, further_sets.SET12)):
        (shelf / name).mkdir(parents=True)
        repository(shelf / name / Path(address.url).name, made)
        published(name, made)
    for name, names in (("cid22", ["training/1.png", "validation/2.png"]), ("kodak24", ["1.png", "24.png"])):
        made = {file: encoded(noise(500 + n)) for n, file in enumerate(names)}
        (shelf / name).mkdir()
        for file, content in made.items():
            (shelf / name / Path(file).name).write_bytes(content)
        published(name, made)
    return shelf


@pytest.fixture
def own(tmp_path) -> Path:
    """Folder with six training images."""
    for n in range(6):
        save(tmp_path / f"own/{n}.png", noise(700 + n))
    return tmp_path / "own"


def test_registered_test_sets_are_added(tmp_path, shelf, own):
    data = own_files("folder", own, tests=["cbsd68", "cid22", "kodak24"])
    rows = {row.image: row for row in fetch(data, tmp_path / "raw") if row.source != "folder"}
    expected = {"101085": "CBSD68", "2": "CID22", "Kodak24/01": "Kodak24", "Kodak24/24": "Kodak24"}
    assert {row.image: row.sets for row in rows.values()} == expected
    assert {row.split for row in rows.values()} == {"test"}
    assert set(manifest.dataset(tmp_path / "raw")["sources"]) == {"folder", "bsds500", "cid22", "kodak24"}
    data = own_files("folder", own, tests=["bsd68", "set12", "kodak24"], channels=1)
    sets = {row.image: row.sets for row in fetch(data, tmp_path / "raw") if row.source != "folder"}
    assert sets == {"BSD68/test001": "BSD68", "Set12/01": "Set12", "Kodak24/01": "Kodak24", "Kodak24/24": "Kodak24"}


def test_a_test_set_has_the_same_images_as_in_its_own_data_set(tmp_path, shelf, own):
    added = fetch(own_files("folder", own, tests=["cbsd68"]), tmp_path / "added")
    whole = fetch(block("bsds500", val_images=1), tmp_path / "whole")
    (one,), (two,) = ([row for row in rows if "CBSD68" in row.sets] for rows in (added, whole))
    assert (one.image, one.sha256, one.group) == (two.image, two.sha256, two.group)


def test_own_test_folders_are_one_set_per_subfolder(tmp_path, own):
    for n, name in enumerate(("a.png", "night shots/b.png", "day/c.png", "day/deep/d.png")):
        save(tmp_path / "my tests" / name, noise(800 + n))
    data = own_files("folder", own, test_folder=str(tmp_path / "my tests"), side=16)
    rows = [row for row in fetch(data, tmp_path / "raw") if row.source == "test_folder"]
    assert Counter(row.sets for row in rows) == {"my_tests": 1, "night_shots": 1, "day": 2}
    assert {row.width for row in rows} == {32}  # not reduced


def test_test_sets_that_do_not_fit_are_refused(tmp_path, shelf, own):
    out = tmp_path / "raw"
    refused(own_files("folder", own, tests=["bsd68"]), out, "data.tests: bsd68 needs data.channels=1, not 3")
    refused(own_files("folder", own, tests=["cbsd68"], channels=1), out, "cbsd68 needs data.channels=3, not 1")
    refused(block("bsds500", val_images=1, tests=["cbsd68"]), out, "CBSD68 is part of the data set already")
    refused(own_files("folder", own, test_folder=str(tmp_path / "none")), out, "data.test_folder: ", "is not a folder")
    (tmp_path / "empty").mkdir()
    refused(own_files("folder", own, test_folder=str(tmp_path / "empty")), out, "has no images")


def test_the_leak_guard_covers_further_test_sets(tmp_path, shelf, own):
    save(own / "copy.png", noise(501))  # Kodak24/24
    data = own_files("folder", own, tests=["kodak24"], split={"train": 0.7, "val": 0.15, "test": 0.15})
    with pytest.raises(UserError, match=r"leak: .* and Kodak24/24 \(test\) have identical pixels"):
        for seed in range(5):  # until the copy is not in the test split
            fetch(data.model_copy(update={"seed": seed}), tmp_path / "raw")


def test_registered_sets_have_the_names_in_the_schema_and_the_addresses_of_their_data_sets():
    for field, registered in (("tests", further_sets.TESTS), ("training", further_sets.TRAINING)):
        assert set(registered) == set(get_args(get_args(DataBlock.model_fields[field].annotation)[0]))
    assert block("bsds500").bsds500 == further_sets.BSDS500
    assert block("bsd400_gray").set12 == further_sets.SET12
    assert block("cid22").cid22.url == further_sets.CID22


def test_training_images_of_other_data_sets_are_added(tmp_path, shelf, own):
    data = own_files("folder", own, training=["bsds500", "cid22"], channels=1)
    rows = [row for row in fetch(data, tmp_path / "raw") if row.source != "folder"]
    whole = fetch(block("bsds500", val_images=1), tmp_path / "whole")
    expected = {row.image for row in whole if row.split != "test"} | {"1"}  # 2 is a test image of CID22
    assert {row.image for row in rows} == expected
    assert {(row.split, row.sets) for row in rows} == {("train", "")}
    assert stored(tmp_path / "raw", rows[0]).shape[2:] in ((), (1,))  # gray


def test_a_data_set_is_not_added_to_itself(tmp_path, shelf):
    refused(block("bsds500", val_images=1, training=["bsds500"]), tmp_path / "raw", "images of the same name")


def test_polyu_keeps_a_scene_in_one_split(tmp_path, published):
    stems = ["Canon5D2_5_160_3200_toy_1", "Nikon800_4-5_160_1800_toy_2", "Sony_3_200_1600_plug_1", "Sony_3_1_1_desk__2"]
    members = {}
    for n, stem in enumerate(stems):
        members[f"CroppedImages/{stem}_real.JPG"] = encoded(noise(n), "jpeg")
        members[f"CroppedImages/{stem}_mean.JPG"] = encoded(noise(100 + n), "jpeg")
    published("polyu", members)
    rows = fetch(from_archive("polyu", repository(tmp_path / "a.tar.gz", members)), tmp_path / "raw")
    assert {row.image: row.group for row in rows} == dict(zip(stems, ["toy", "toy", "plug", "desk"], strict=True))
    assert len({row.split for row in rows if row.group == "toy"}) == 1
    assert {row.split for row in rows} == {"train", "val", "test"}
    for row in rows:
        for path, kind in ((row.noisy, "real"), (row.path, "mean")):
            decoded = np.asarray(Image.open(io.BytesIO(members[f"CroppedImages/{row.image}_{kind}.JPG"])))
            assert np.array_equal(np.asarray(Image.open(tmp_path / "raw" / path)), decoded)


def test_polyus_published_names_have_23_scenes():
    names = [Path(row["file"]).stem.removesuffix("_mean") for row in sources.table("polyu") if "_mean" in row["file"]]
    matches = [polyu.NAME.fullmatch(name) for name in names]
    assert len(names) == 100
    assert all(matches)
    assert len({match["scene"] for match in matches}) == 23  # scenes photographed with several cameras count once


def test_cifar10_4k(tmp_path):
    members = {f"train/{label}/{n}.png": encoded(noise(n)) for n, label in enumerate(CLASSES * 2)}
    rows = fetch(from_archive("cifar10_4k", make_tar(tmp_path / "a.tar", members)), tmp_path / "raw")
    assert Counter(row.split for row in rows) == {"train": 4, "val": 1, "test": 1}
    for row in rows:
        label, n = row.image.split("/")
        assert row.label == label == CLASSES[int(n) % 3]
        assert np.array_equal(stored(tmp_path / "raw", row), noise(int(n)))
    archive = make_tar(tmp_path / "b.tar", {"val/cat/1.png": encoded(noise(0))})
    refused(from_archive("cifar10_4k", archive), tmp_path / "raw", "b.tar has no folder train")
    archive = make_tar(tmp_path / "c.tar", {"train/cat/1.png": encoded(noise(0))})
    refused(
        from_archive("cifar10_4k", archive), tmp_path / "raw", "data cifar10_4k: ", "c.tar: images: only 1 to split"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "conf/data").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_data_set_has_a_licence_and_citation(path):
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    tree = tree.get("data", tree)
    archives = [key for key, value in tree.items() if isinstance(value, dict) and "url" in value]
    for name in archives or [tree["name"]]:
        about = sources.ABOUT[name]
        assert about.title and about.licence and about.citation
        assert (sources.TABLES / f"{name}.csv").is_file() == about.verified
    assert path.stem == tree["name"] or tree["name"] == "folder"
    assert f'name: Literal["{tree["name"]}"]' in (ROOT / "src/denoiselab/config/data.py").read_text(encoding="utf-8")
