"""Benchmark data on the real files (needs a mirror): pixel hashes, PSNR of the noisy input, the published DnCNN."""

import csv
import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from denoiselab import architectures
from denoiselab.config import Entry, Params
from denoiselab.data import manifest, noise_sampling, noisy_sets, patches
from denoiselab.data.fetch import fetch
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.models import pretrained, tiled_inference
from denoiselab.noise import cameras
from tests.conftest import ROOT, composed

MIRROR = Path(os.environ.get("DENOISELAB_MIRROR", ""))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("DENOISELAB_MIRROR") or not (MIRROR / "bsds500").is_dir(),
        reason="DENOISELAB_MIRROR is not set or has no bsds500",
    ),
]

# First 16 hex digits of the sha256 over all pixels, HWC, in sorted order.
PIXELS = {"Set12": "bc04213b2b59e09c", "BSD68": "2e37a02ad4b84de9", "CBSD68": "198360ee843e4c00"}
SIGMAS = (15, 25, 50)
NOISY = {  # mean PSNR of the noisy input with legacy seeding, at sigma 15, 25, 50
    ("Set12", "unclipped"): (24.6385, 20.2015, 14.1809),
    ("BSD68", "unclipped"): (24.6310, 20.1940, 14.1734),
    ("CBSD68", "unclipped"): (24.6188, 20.1818, 14.1612),
    ("Set12", "clipped8"): (24.7036, 20.3688, 14.7878),
    ("BSD68", "clipped8"): (24.8142, 20.4980, 14.9292),
    ("CBSD68", "clipped8"): (24.8438, 20.5426, 15.0034),
}
WINNET_ON_THE_FIRST = 30.2335  # image of Set12, unrounded; the public DnCNN-S: 30.2127
DNCNN_ON_SET12 = (30.4316, 30.4382, 0.86165)  # uint8, unrounded, SSIM; on BSD68 the pipeline itself is tested


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mirrored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("DENOISELAB_MIRROR", str(MIRROR.resolve()))
        for name in ("bsds500", "bsd400_gray"):
            fetch(composed(f"data={name}").data, folder / name)
    return folder


def members(shared: Path, name: str) -> list[tuple[str, np.ndarray]]:
    """(image, pixels) of a test set."""
    raw = shared / ("bsds500" if name == "CBSD68" else "bsd400_gray")
    channels = 3 if name == "CBSD68" else 1
    return [
        (r.image, dataset_images.read(raw / r.path, channels))
        for r in manifest.read(raw, "test")
        if name in r.sets.split()
    ]


@pytest.mark.parametrize("name", PIXELS)
def test_the_benchmark_sets_are_bit_exact(shared, name):
    pixels = [np.ascontiguousarray(p).tobytes() for _, p in sorted(members(shared, name), key=lambda pair: pair[0])]
    assert hashlib.sha256(b"".join(pixels)).hexdigest()[:16] == PIXELS[name]


@pytest.fixture(scope="module")
def noisy_psnr(shared):
    """(data set, clipped8 or unclipped) -> {(image, sigma): PSNR of the noisy input}, from stored conditions."""

    @cache
    def drawn(data: str, stored: str) -> dict[tuple[str, int], float]:
        tree = composed(f"data={data}").model_dump(mode="json")
        clip = stored == "clipped8"
        spec = {"kind": "gaussian", "per_channel": True, "clip": clip, "quantise": clip}
        tree["noise"]["test"] = {f"sigma{s}": spec | {"sigma_255": s} for s in SIGMAS}
        tree["protocol"]["legacy_seed"] = True
        params, folder = Params.model_validate(tree), shared / f"{data}-{stored}"
        small_patches(folder / "patches", params.data.channels)
        noise_sampling.write(shared / data, folder / "patches", params, folder / "noisy")
        found = {}
        for sigma in SIGMAS:
            assert noisy_sets.read(folder / "noisy", f"sigma{sigma}").protocol.name == f"awgn-{stored}"
            for test in noisy_sets.test(shared / data, folder / "noisy", f"sigma{sigma}", params.data.channels):
                found[test.image, sigma] = image_quality.psnr(test.clean / 255.0, test.noisy, data_range=1)
        return found

    return drawn


@pytest.mark.parametrize(("name", "stored"), NOISY)
def test_the_noisy_input_has_its_reference_psnr(shared, noisy_psnr, name, stored):
    psnr = noisy_psnr("bsds500" if name == "CBSD68" else "bsd400_gray", stored)
    for sigma, golden in zip(SIGMAS, NOISY[name, stored], strict=True):
        mean = np.mean([psnr[image, sigma] for image, _ in members(shared, name)])
        assert mean == pytest.approx(golden, abs=5e-5)


def small_patches(folder: Path, channels: int) -> None:
    """A single validation patch, as some functions need one."""
    folder.mkdir(parents=True)
    np.save(folder / "val-00000.npy", np.full((1, 16, 16, channels), 128, np.uint8))
    with (folder / "index.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["split", "shard", "row", "image", "label", "scale", "y", "x"])
        writer.writerow(["val", "val-00000", 0, "a", "", 1.0, 0, 0])


def test_the_public_dncnn_has_its_reference_scores(shared):
    block = yaml.safe_load((ROOT / "conf/model/dncnn25_kair.yaml").read_text(encoding="utf-8"))
    keys = {key: block[key] for key in ("arch", "channels", "depth", "features", "batch_norm")}
    model = architectures.build(keys)
    pretrained.load_weights(model, keys, MIRROR / "dncnn25_kair" / "dncnn_25.pth")
    rounded, unrounded, similar = [], [], []
    for _, clean in members(shared, "Set12"):
        field = np.random.RandomState(0).normal(0, 25 / 255, clean.shape)
        noisy = ((clean / 255.0).astype(np.float32) + field).astype(np.float32)[:, :, None]
        restored = tiled_inference.restore(model, noisy, device=torch.device("cpu"))[:, :, 0].clip(0, 1)
        rounded.append(image_quality.psnr(clean, image_quality.to_uint8(restored), data_range=255))
        unrounded.append(image_quality.psnr(clean / 255.0, restored, data_range=1))
        similar.append(image_quality.ssim(clean, image_quality.to_uint8(restored), data_range=255))
    found = [np.mean(scores) for scores in (rounded, unrounded)]
    assert found == pytest.approx(DNCNN_ON_SET12[:2], abs=0.001)
    assert np.mean(similar) == pytest.approx(DNCNN_ON_SET12[2], abs=0.00002)


PUBLISHED = ("dncnn25_kair", "dncnn_gray_buifd", "dncnn_colour_buifd", "winnet_blind")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_are_recognised_as_their_entries_say(name):
    entry = Entry.model_validate(yaml.safe_load((ROOT / f"conf/model/{name}.yaml").read_text(encoding="utf-8")))
    path = MIRROR / name / entry.weights.rpartition("/")[2]
    if not path.exists():
        pytest.skip(f"not in the mirror: {path}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    found, stated = pretrained.recognise(pretrained.read(path)), architectures.settings(entry.architecture())
    assert found == {"arch": entry.arch} | {key: stated[key] for key in found if key != "arch"}


def test_the_public_winnet_has_its_reference_score(shared):
    path = MIRROR / "winnet_blind" / "net_WINNet.pth"
    if not path.exists():
        pytest.skip(f"not in the mirror: {path}")
    block = pretrained.recognise(pretrained.read(path))
    model = architectures.build(block)
    pretrained.load_weights(model, block, path)
    _, clean = members(shared, "Set12")[0]
    field = np.random.RandomState(0).normal(0, 25 / 255, clean.shape)
    noisy = ((clean / 255.0) + field).astype(np.float32)[:, :, None]
    restored = tiled_inference.restore(model, noisy, device=torch.device("cpu"), sigma_255=25.0)[:, :, 0].clip(0, 1)
    assert image_quality.psnr(clean / 255.0, restored, data_range=1) == pytest.approx(WINNET_ON_THE_FIRST, abs=0.001)


def test_the_classic_recipe_gives_107000_patches(shared, tmp_path):
    """85,600 from the 400 training and validation images, 21,400 from the 100 of the val split."""
    rows = manifest.read(shared / "bsds500")
    counts = {}
    for name, splits in (("train", ("train", "val")), ("val", ("test",))):
        chosen = [row for row in rows if row.split in splits]
        folder = tmp_path / name
        folder.mkdir()
        for split in {row.split for row in chosen}:
            (folder / split).symlink_to(shared / "bsds500" / split)
        moved = [manifest.Row(**{**vars(row), "split": "train"}) for row in chosen]
        manifest.write(folder, moved)
        settings = composed("data=bsds500").patches.model_copy(
            update={"size": 40, "stride": 40, "scales": [1.0, 0.8, 0.7, 0.5]}
        )
        counts[name] = patches.cut(folder, settings, 3, folder / "out")["train"]
        assert len(patches.load(folder / "out", "train")) == counts[name]
    assert counts == {"train": 85_600, "val": 21_400}


def test_polyu_is_split_by_scene(tmp_path, monkeypatch):
    if not (MIRROR / "polyu").is_dir():
        pytest.skip("the mirror has no polyu")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DENOISELAB_MIRROR", str(MIRROR.resolve()))
    rows = fetch(composed("data=polyu").data, tmp_path / "raw")
    scenes = {split: {row.group for row in rows if row.split == split} for split in ("train", "val", "test")}
    assert len(rows) == 100
    assert all(row.noisy for row in rows)
    assert not scenes["train"] & scenes["val"] | scenes["train"] & scenes["test"] | scenes["val"] & scenes["test"]
    classroom = [row for row in rows if "classroom" in row.image]
    assert len({row.image.partition("_")[0] for row in classroom}) == 2  # cameras
    assert len({row.split for row in classroom}) == 1


def test_the_public_table_of_cameras(monkeypatch):
    if not (MIRROR / "camera_profiles").is_dir():
        pytest.skip("the mirror has no camera_profiles")
    monkeypatch.setenv("DENOISELAB_MIRROR", str(MIRROR.resolve()))
    cameras.table.cache_clear()
    assert len(cameras.table()) == 433
    for camera in cameras.table().values():
        assert (camera.a > 0).all()
        assert (np.diff(camera.iso) > 0).all()
    ratio = np.concatenate([camera.a[:, 0] / camera.a[:, 1] for camera in cameras.table().values()])
    assert 1.9 < np.median(ratio) < 2.5  # red's gain in daylight: the table is of the white-balanced signal
