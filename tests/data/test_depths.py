"""Experiments at 16 bits and float: photographs with detail below one 8-bit level, from the files to the report."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from denoiselab import report
from denoiselab.config import Params
from denoiselab.data import manifest, noisy_sets, patches
from denoiselab.data.fetch import fetch
from denoiselab.imaging import dataset_images
from denoiselab.models import model_store, tiled_inference
from denoiselab.noise.describe import in_words
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError
from tests.conftest import composed, photograph, run_stages

NAMES = ("astronaut", "camera", "chelsea", "coffee", "motorcycle_left", "motorcycle_right")
SIGMA_255 = 1.0  # at which a rounding to 8 bits shows
QUICK = [
    *("model=[gaussian,dncnn]", "models.gaussian.strengths=[0.4]", "models.dncnn.depth=3", "models.dncnn.features=8"),
    *("train.steps=6", "models.dncnn.steps=6", "models.dncnn.validate_every=3", "train.val_patches=2"),
    *("patches.size=48", "patches.val_size=48", "evaluate.samples=1", "evaluate.resamples=100", "data.drop_leaks=true"),
    *("evaluate.curve.levels=[10]", "evaluate.curve.images=1", "evaluate.curve.crop=48", "parallel.jobs=1"),
]
NOISE = [
    *(f"noise.train.sigma_255={SIGMA_255}", "noise.train.quantise=true", "~noise.test.sigma25"),
    f"+noise.test.faint={{kind: gaussian, sigma_255: {SIGMA_255}, per_channel: true, clip: false, quantise: true}}",
]


def detailed(name: str) -> np.ndarray:
    """A photograph at a third of its size by averaging, float64 in [0, 1]: most values lie between 8-bit levels."""
    pixels = photograph(name)
    small = cv2.resize(pixels.astype(np.float64), None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA) / 255
    return small[:96, :128]


def save(path: Path, values: np.ndarray, dtype: str, white: float) -> None:
    """A TIFF or PNG of that type, in which `values` 1 is white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = (values * white if dtype == "float32" else np.round(values * white)).astype(dtype)
    if path.suffix == ".png":
        cv2.imwrite(str(path), stored[..., ::-1] if stored.ndim == 3 else stored)
    else:
        tifffile.imwrite(path, stored, photometric="rgb" if stored.ndim == 3 else "minisblack")


def loaded(path: Path) -> np.ndarray:
    """A stored gray image, read without this project, (H, W)."""
    return tifffile.imread(path) if path.suffix == ".tif" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def psnr(one: np.ndarray, two: np.ndarray, peak: float) -> float:
    return 20 * np.log10(peak / np.sqrt(np.mean((one.astype(np.float64) - two.astype(np.float64)) ** 2)))


@dataclass
class Finished:
    root: Path
    params: Params

    @property
    def rows(self) -> pd.DataFrame:
        tables = [pd.read_csv(self.root / paths.evaluation(model) / "per_image.csv") for model in self.params.models]
        return pd.concat(tables).set_index(["model", "image"])

    def tests(self):
        """(row of the manifest, clean, noisy) of every test image, (H, W), read without this project."""
        folder = self.root / paths.NOISY / next(iter(self.params.noise.test))
        stored = {entry["image"]: entry["file"] for entry in files.read_json(folder / "index.json")["test"]}
        for row in manifest.read(self.root / paths.RAW, "test"):
            yield row, loaded(self.root / paths.RAW / row.path), np.load(folder / stored[row.image])[:, :, 0]


def finished(root: Path, dtype: str, white: float, *settings: str) -> Finished:
    for name in NAMES:
        save(root / f"photos/{name}.tif", detailed(name), dtype, white)
    params = composed("data=folder", f"data.path={root / 'photos'}", "data.channels=1", *QUICK, *settings)
    run_stages(root, params)
    return Finished(root, params)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Finished]:
    """The same photographs read as 8 bits, as 16 bits and as float."""
    return {
        "8": finished(tmp_path_factory.mktemp("8"), "uint16", 65535, *NOISE),
        "16": finished(tmp_path_factory.mktemp("16"), "uint16", 65535, "data.depth=16", *NOISE),
        "float": finished(tmp_path_factory.mktemp("float"), "float32", 1, "data.depth=float", *NOISE),
    }


DTYPES = {"8": (np.uint8, 255), "16": (np.uint16, 65535), "float": (np.float32, 1)}


@pytest.mark.parametrize("depth", DTYPES)
def test_scores_agree_with_the_stored_files(runs, depth):
    """Of the noisy input, and of the output of a trained network, rounded to the data's depth."""
    run, (dtype, peak) = runs[depth], DTYPES[depth]
    assert patches.load(run.root / paths.PATCHES, "train").dtype == dtype
    network = model_store.load(run.root / paths.model("dncnn"))
    for row, clean, noisy in run.tests():
        assert clean.dtype == dtype
        assert run.rows.psnr["noisy", row.image] == pytest.approx(psnr(clean, noisy * np.float64(peak), peak), abs=1e-4)
        output = tiled_inference.restore(
            network,
            noisy[:, :, None],
            device=torch.device("cpu"),
            sigma_255=SIGMA_255,
            label=None,
            tile=512,
            precision="float32",
        )[:, :, 0]
        restored = output.clip(0, 1) * peak
        restored = restored if depth == "float" else np.round(restored)
        assert run.rows.psnr["dncnn", row.image] == pytest.approx(psnr(clean, restored, peak), abs=0.02)


def test_the_noisy_row_is_the_analytic_psnr(runs):
    """Rounding to 8 bits adds 1/12 of a squared level to the noise (Bennett 1948); 16 bits add next to nothing."""
    for depth, variance in {"8": SIGMA_255**2 + 1 / 12, "16": SIGMA_255**2, "float": SIGMA_255**2}.items():
        found = runs[depth].rows.loc["noisy"].psnr.mean()
        assert found == pytest.approx(10 * np.log10(255**2 / variance), abs=0.06), depth


def test_noise_and_images_keep_their_depth(runs):
    for row, clean, noisy in runs["16"].tests():
        original = loaded(Path(runs["16"].params.data.path) / row.image)
        assert np.array_equal(clean, original if original.ndim == 2 else dataset_images.gray(original))
        levels = noisy * np.float64(65535)
        assert np.abs(levels - np.round(levels)).max() < 0.01
        assert len(np.unique(noisy)) > 2000
    for _, clean, noisy in runs["float"].tests():
        assert len(np.unique(clean)) > 2000 and len(np.unique(noisy)) > 2000


def test_rounding_to_8_bits_lowers_scores(runs):
    means = {depth: run.rows.groupby("model").psnr.mean() for depth, run in runs.items()}
    for model in ("noisy", "gaussian"):
        assert means["16"][model] > means["8"][model] + 0.1
        assert means["16"][model] == pytest.approx(means["float"][model], abs=0.05)


def test_protocols_differ(runs):
    names = {depth: {*zip(run.rows.protocol, run.rows.protocol_sha256, strict=True)} for depth, run in runs.items()}
    assert all(len(found) == 1 for found in names.values())
    found = {depth: next(iter(name)) for depth, name in names.items()}
    assert [found[d][0] for d in DTYPES] == ["awgn-quantised", "awgn-quantised-16bit", "awgn-unclipped-float"]
    assert len({sha256 for _, sha256 in found.values()}) == 3


@pytest.mark.slow
def test_the_report_states_the_depth(runs, monkeypatch):
    run = runs["16"]
    monkeypatch.chdir(run.root)
    report.write(run.params)
    text = paths.REPORT_MD.read_text(encoding="utf-8")
    for words in ("1 channel, 16 bits: ", "16-bit steps", "20 log10(65535 / sqrt(MSE))", "awgn-quantised-16bit"):
        assert words in text
    assert "8 bits" not in text
    assert f"{run.rows.loc['noisy'].psnr.mean():.2f}" in text


def test_pairs_of_float_means_and_12_bit_shots(tmp_path):
    """Clean means as float and noisy shots as integers, both in the camera's unit: the shots are read exactly."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        clean = detailed(name)
        save(tmp_path / f"pairs/clean/{name}.tif", clean, "float32", 4095)
        noisy = (clean + rng.normal(0, 0.01, clean.shape)).clip(0, 1)
        save(tmp_path / f"pairs/noisy/{name}.tif", noisy, "uint16", 4095)
    settings = ["data=pairs", f"data.path={tmp_path / 'pairs'}", "noise=real", "data.channels=1"]
    params = composed(*settings, "data.depth=float", "data.white=4095", *QUICK)
    run_stages(tmp_path, params)
    run = Finished(tmp_path, params)
    for row, clean, noisy in run.tests():
        if photograph(row.image).ndim == 2:
            assert np.allclose(noisy * 4095, loaded(tmp_path / f"pairs/noisy/{row.image}.tif"), atol=1e-3)
        assert run.rows.psnr["noisy", row.image] == pytest.approx(psnr(clean, noisy, 1), abs=1e-4)
    assert {*run.rows.protocol} == {"real-pairs-float"}


def test_noisy_float_images_without_clean_ones_are_not_clipped(tmp_path):
    """Noise below black keeps its mean 0, in the stored images and for a network that learns from them."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        clean = detailed(name) / 8
        save(tmp_path / f"photos/{name}.tif", clean + rng.normal(0, 0.02, clean.shape), "float32", 1)
    settings = ["data=noisy_folder", f"data.path={tmp_path / 'photos'}", "data.channels=1", "data.depth=float"]
    params = composed(*settings, *QUICK)
    run_stages(tmp_path, params)
    for _, clean, noisy in Finished(tmp_path, params).tests():
        assert np.array_equal(clean, noisy) and noisy.min() < -0.02
    (condition,) = noisy_sets.names(tmp_path / paths.NOISY)
    assert noisy_sets.read(tmp_path / paths.NOISY, condition).protocol.name == "no-clean-images-float"


def test_white_of_12_bits_becomes_white(tmp_path):
    for name in NAMES:
        save(tmp_path / f"photos/{name}.png", detailed(name), "uint16", 4095)
    data = composed("data=folder", f"data.path={tmp_path / 'photos'}", "data.depth=16", "data.white=4095").data
    for row in fetch(data, tmp_path / "raw"):
        original = loaded(tmp_path / f"photos/{row.image}")
        rgb = original[..., ::-1] if original.ndim == 3 else np.repeat(original[..., None], 3, axis=2)
        found = manifest.pixels(tmp_path / "raw", row, 3)
        assert np.abs(found - rgb * (65535 / 4095)).max() < 0.51
    assert {k: manifest.dataset(tmp_path / "raw")[k] for k in ("depth", "white")} == {"depth": 16, "white": 4095}


@pytest.mark.parametrize(
    ("dtype", "white", "settings", "reason"),
    [
        ("uint8", 255, ["data.depth=16"], "has 8 bits, but data.depth is 16"),
        ("float32", 1, ["data.depth=16"], "set data.depth=float"),
        ("float32", 1, [], "float pixels need data.depth=float"),
        ("uint16", 4095, ["data.depth=16"], "such as 4095 for 12 bits"),
        ("uint16", 16383, ["data.depth=16", "data.white=4095"], "but white is 4095; set data.white"),
        ("float32", 4095, ["data.depth=float"], "but white is 1; set data.white"),
        ("uint16", 65535, ["data.depth=12"], "data.depth"),
        ("uint16", 65535, ["data.white=4095"], "white must be null at depth 8"),
        ("uint16", 65535, ["data.depth=16", "data.tests=[kodak24]"], "published sets have 8 bits"),
        ("uint16", 65535, ["data.depth=16", "augment=hair"], "data.depth 8 only"),
    ],
)
def test_other_depths_are_refused(tmp_path, dtype, white, settings, reason):
    for name in NAMES[:3]:
        save(tmp_path / f"photos/{name}.tif", detailed(name), dtype, white)
    with pytest.raises(UserError, match=reason) as error:
        fetch(composed("data=folder", f"data.path={tmp_path / 'photos'}", *settings).data, tmp_path / "raw")
    assert "\n" not in str(error.value)


def test_published_sets_have_8_bits():
    with pytest.raises(UserError, match="depth must be 8"):
        composed("data=embedded", "+data.depth=16")


@pytest.mark.parametrize(
    ("depth", "words"), [(8, "clipped, 8 bits"), (16, "clipped, 16 bits"), ("float", "not clipped")]
)
def test_real_noise_is_described_at_its_depth(depth, words):
    assert in_words({"kind": "real", "clip": True, "quantise": True}, depth) == f"real ({words})"


def test_clipping_after_the_last_noise_of_a_chain_is_described():
    step = {"kind": "gaussian", "sigma_255": 5, "clip": False, "quantise": False}
    chain = {"kind": "chain", "steps": [step, step], "clip": True, "quantise": True}
    assert in_words(chain).endswith("(sigma 5 of 255, not clipped), then clipped, 8 bits")
    sometimes = {"kind": "sometimes", "p": 0.5, "noise": step, "clip": True, "quantise": False}
    assert in_words(sometimes).endswith("not clipped), then clipped")
    assert in_words(sometimes | {"clip": False}).endswith("not clipped)")


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_patches_are_scaled_as_those_of_8_bits(dtype):
    """Bicubic with antialiasing, as for 8 bits, to within their rounding."""
    peak = 65535 if dtype == np.uint16 else 1
    pixels = photograph("astronaut")[:90, :120]
    deep = dataset_images.resized((pixels * (peak / 255)).astype(dtype), (80, 60))
    assert deep.dtype == dtype
    assert np.abs(deep * (255 / peak) - dataset_images.resized(pixels, (80, 60))).max() < 1.01
