"""Denoisers: the catalogue, names and paths, and their effect on real photographs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from denoiselab import architectures
from denoiselab.app import denoisers, model_catalogue
from denoiselab.metrics import image_quality
from denoiselab.models import model_store, tiled_inference
from denoiselab.runtime import devices, files, seeding
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, photograph

RELEASED = ROOT / "models" / "released"
CLASSICAL = {"bm3d", "gaussian", "median", "bilateral", "nlm", "tv", "wavelet"}
NET = {"arch": "dncnn", "channels": 3, "depth": 3, "features": 4, "batch_norm": True}
WHOLE = {"arch": "nafnet", "channels": 3, "width": 4, "encoder": [1], "middle": 1, "decoder": [1]}


def noisy(clean: np.ndarray, sigma_255: float) -> np.ndarray:
    noise = torch.randn(clean.shape, generator=seeding.generator("denoisers")).numpy()
    return (clean + sigma_255 / 255 * noise).astype(np.float32)


def photo(channels: int) -> np.ndarray:
    """(H, W, C) in [0, 1]."""
    values = photograph("chelsea")[:200, 100:300] / np.float32(255)
    return values if channels == 3 else values.mean(axis=2, keepdims=True)


def gain(denoiser: denoisers.Denoiser, channels: int, sigma_255: float) -> float:
    """PSNR gain over the noisy image, in dB."""
    clean = photo(channels)
    given = noisy(clean, sigma_255)
    restored = denoiser.restore(given)
    assert restored.shape == given.shape and restored.dtype == np.float32
    return image_quality.psnr(clean, restored, data_range=1) - image_quality.psnr(clean, given, data_range=1)


def workspace(root, name: str, card: dict | None = None) -> None:
    """Save a small untrained network in models/<name>."""
    torch.manual_seed(0)
    spec = {"kind": "gaussian", "sigma_255": 25.0, "clip": False, "quantise": False, "per_channel": True}
    made = {"name": name, "architecture": NET, "task": "restore", "imported": None, "adopted": None, "parameters": 1}
    made |= {"noise": {"train": spec}, "classes": []} | (card or {})
    weights = architectures.build(made["architecture"]).state_dict()
    model_store.save(root / "models" / name, {"best_psnr": weights, "best_ssim": weights}, made)


def test_shipped_denoisers_are_known_everywhere():
    found = {entry.name: entry for entry in denoisers.known()}
    assert set(found) == {folder.parent.name for folder in RELEASED.glob("*/model.json")} | CLASSICAL
    gray, colour = found["gray_fast"], found["colour_fast"]
    assert (gray.channels, gray.levels, gray.licence) == (1, (0, 55), "MIT")
    assert found["real"].levels is None and found["real"].licence == "non-commercial research"
    assert colour.parameters == json.loads((RELEASED / "colour_fast/model.json").read_text())["parameters"]


def test_models_of_the_workspace_are_listed_by_path(tmp_path):
    workspace(tmp_path, "mine")
    workspace(tmp_path, "classifier", {"task": "classify"})
    workspace(tmp_path, "colour")
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "model.json").write_text("{")
    shutil.copytree(RELEASED / "gray_fast", tmp_path / "models/released/own")
    found = {entry.name: entry for entry in denoisers.trained(tmp_path)}
    assert list(found) == ["models/colour", "models/mine", "models/released/own"]
    assert (found["models/mine"].origin, found["models/mine"].levels) == ("trained", (25, 25))
    own = found["models/released/own"]
    assert (own.origin, own.licence) == ("released", "MIT")
    assert denoisers.measured(own, tmp_path) == denoisers.measured(denoisers.load("gray_fast").entry)
    for name in found:
        assert denoisers.load(name, tmp_path).entry.name == name


def test_released_weights_of_the_package_are_not_listed_twice():
    assert not [entry for entry in denoisers.trained(ROOT) if entry.origin == "released"]


def test_a_name_never_means_a_model_of_the_workspace(tmp_path, monkeypatch):
    shipped = {name: denoisers.load(name).restore(noisy(photo(3), 25)) for name in ("colour", "median")}
    workspace(tmp_path, "colour")
    workspace(tmp_path, "median")
    workspace(tmp_path, "auto")
    workspace(tmp_path / "models/released/..", "released/gray_fast")
    monkeypatch.chdir(tmp_path)
    assert denoisers.load("gray").entry.parameters > 1
    for name, expected in shipped.items():
        assert np.array_equal(denoisers.load(name).restore(noisy(photo(3), 25)), expected)
        assert not np.array_equal(denoisers.load(f"models/{name}").restore(noisy(photo(3), 25)), expected)
    assert not [entry for entry in denoisers.known() if entry.name in ("colour", "auto") or entry.parameters == 1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unet", "model 'unet' is not shipped; for the one trained here, use models/unet"),
        ("own", "model 'own' is not shipped; for the one released here, use models/released/own"),
        ("folder", "model 'folder' is not shipped; for the one in this folder, use ./folder"),
    ],
)
def test_an_unknown_name_is_refused_with_the_path_to_use(name, said, tmp_path):
    workspace(tmp_path, "unet")
    shutil.copytree(RELEASED / "gray_fast", tmp_path / "models/released/own")
    shutil.copytree(RELEASED / "gray_fast", tmp_path / "folder")
    with pytest.raises(UserError, match=f"^{said}$"):
        denoisers.load(name, tmp_path)
    assert denoisers.load(said.rpartition(" ")[2], tmp_path).channels


def test_no_other_model_takes_the_place_of_a_damaged_one(tmp_path, monkeypatch):
    monkeypatch.setattr(model_catalogue, "PROJECT", tmp_path / "project")
    workspace(tmp_path, "colour")
    shutil.copytree(RELEASED / "colour_fast", tmp_path / "project/models/released/colour_fast")
    assert denoisers.load("colour", tmp_path).entry.origin == "released"
    for name in ("best_psnr.safetensors", "model.json"):
        path = tmp_path / "project/models/released/colour_fast" / name
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(UserError, match=rf"colour_fast/{name}: .*; train it again, or restore it from Git"):
            denoisers.load("colour", tmp_path)


@pytest.mark.parametrize(
    ("sizes", "fast", "best"),
    [
        (["fast"], "net_fast", "net_fast"),
        (["best"], "net_best", "net_best"),
        (["fast", "best"], "net_fast", "net_best"),
    ],
)
def test_a_family_has_one_or_two_sizes(sizes, fast, best, tmp_path, monkeypatch):
    for size in sizes:
        workspace(tmp_path, f"released/net_{size}")
    monkeypatch.setattr(model_catalogue, "PROJECT", tmp_path)
    assert [entry.name for entry in denoisers.known()][: len(sizes)] == sorted(f"net_{size}" for size in sizes)
    assert denoisers.load("net").entry.name == best
    for quality, name in {"fast": fast, "best": best}.items():
        assert denoisers.load("net", quality=quality).entry.name == name
        assert denoisers.load(name, quality="fast").entry.name == name


@pytest.mark.parametrize("name", ["real", "nlm", "auto", "models/colour", "./colour", "models:/colour@champion"])
def test_only_a_family_has_sizes(name):
    assert denoisers.resolved(name, "fast") == denoisers.resolved(name, "best") == name


@pytest.mark.parametrize(
    ("name", "found"), [("color", "colour_best"), ("color_fast", "colour_fast"), ("colors", "colors")]
)
def test_color_is_colour(name, found):
    assert model_catalogue.resolved(name) == found


def test_an_unknown_quality_is_refused():
    with pytest.raises(UserError, match=r"^unknown quality 'good'; choose from: fast, best$"):
        denoisers.load("nlm", quality="good")


def test_the_noise_of_weights_that_were_trained_on_clipped_images_too(tmp_path):
    spec = {"kind": "gaussian", "sigma_255": [0.0, 55.0], "clip": "half", "quantise": True, "per_channel": True}
    workspace(tmp_path, "mine", {"noise": {"train": spec}})
    (mine,) = denoisers.trained(tmp_path)
    assert (mine.levels, mine.noise) == ((0, 55), "Gaussian, sigma 0 to 55 of 255")


def test_a_model_of_the_workspace_is_loaded_by_folder_and_by_file(tmp_path, monkeypatch):
    workspace(tmp_path, "mine")
    monkeypatch.chdir(tmp_path)
    given = noisy(photo(3), 25)
    expected = denoisers.load("models/mine").restore(given)
    for reference in (
        "./models/mine",
        "models/mine/",
        str(tmp_path / "models/mine"),
        "models/mine/best_psnr.safetensors",
        str(tmp_path / "models/mine/best_ssim.safetensors"),
    ):
        assert np.array_equal(denoisers.load(reference).restore(given), expected)
    monkeypatch.chdir(tmp_path / "models/mine")
    assert np.array_equal(denoisers.load(".").restore(given), expected)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("./models/mine", "models/mine"),
        ("models/mine/best_ssim.safetensors", "models/mine/best_ssim.safetensors"),
        ("../elsewhere/models/mine", "mine"),
    ],
)
def test_a_model_goes_by_its_path_in_the_workspace(reference, name, tmp_path, monkeypatch):
    for folder in ("workspace", "elsewhere"):
        workspace(tmp_path / folder, "mine")
    monkeypatch.chdir(tmp_path / "workspace")
    assert denoisers.load(reference).entry.name == name


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("nothing", "unknown model 'nothing'; choose from: colour_"),
        ("models/nothing", "model 'models/nothing': no such folder or weights file"),
        ("models:/denoiselab@champion", "no MLflow store"),
        ("./empty", "cannot be read"),
    ],
)
def test_unknown_and_broken_models_are_refused(tmp_path, monkeypatch, reference, reason):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=reason):
        denoisers.load(reference)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("name", "channels", "least"), [("colour", 3, 9.5), ("gray", 1, 7.7), ("gray", 3, 7.7), ("colour", 1, 7.7)]
)
def test_released_weights_denoise(name, channels, least):
    assert gain(denoisers.load(name), channels, 25) > least


def test_tiling_does_not_change_the_result():
    denoiser, given = denoisers.load("colour"), noisy(photo(3), 25)
    whole = denoiser.restore(given)
    assert np.abs(denoiser.restore(given, tile=64) - whole).max() < 1e-5


def test_tiles_shrink_with_the_free_memory():
    assert denoisers._tile(64 * 2**30, 51) == denoisers.TILE
    assert denoisers._tile(2**30, 51) < denoisers.TILE
    assert denoisers._tile(0, 51) == denoisers.SMALLEST_TILE


@pytest.mark.parametrize("reach", [0, 51, 200])
def test_the_margin_of_a_tile_counts_as_memory(reach):
    free = 2**30
    sides = []
    tiled_inference.restore(
        Spy(sides, reach), photo_of(2048), device=torch.device("cpu"), tile=denoisers._tile(free, reach)
    )
    assert max(sides) ** 2 * denoisers.BYTES_PER_PIXEL <= free / 2


class Spy(torch.nn.Module):
    """Records the sizes of its inputs."""

    def __init__(self, sides: list[int], reach: int):
        super().__init__()
        self.sides, self.reach = sides, reach

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        self.sides.append(max(noisy.shape))
        return noisy


def photo_of(side: int) -> np.ndarray:
    return np.zeros((side, side, 1), np.float32)


def test_without_tiling_an_image_needs_memory_for_all_of_it(tmp_path, monkeypatch):
    workspace(tmp_path, "net", {"architecture": WHOLE})
    net = denoisers.load("models/net", tmp_path)
    assert net.whole_bytes(10**6) > 10**9 and denoisers.load("colour").whole_bytes(10**6) == 0
    assert 24 * 10**6 < denoisers.load("nlm").whole_bytes(10**6) < 10**8
    monkeypatch.setattr(devices, "free_bytes", lambda device: net.whole_bytes(200 * 200))
    assert net.restore(photo(3)).shape == (200, 200, 3)
    said = r"^models/net works without tiling: 201 x 200 pixels need about 0\.1 GB"
    with pytest.raises(UserError, match=said):
        net.restore(photo_of(200).repeat(3, 2)[:, [0, *range(200)]])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "least"), [("bm3d", 8), ("nlm", 6.5), ("bilateral", 6), ("wavelet", 6), ("tv", 6)])
def test_classical_methods_are_calibrated(name, channels, least):
    assert gain(denoisers.load(name), channels, 25) > least


@pytest.mark.slow
def test_calibration_reproduces_the_strengths(tmp_path, monkeypatch):
    """For one method."""
    from bench import strengths
    from denoiselab.architectures import classical

    monkeypatch.setattr(strengths.classical, "METHODS", {"gaussian": classical.gaussian})
    strengths.main(["--out", str(tmp_path / "again.csv")])
    shipped = {(r["method"], r["channels"], r["sigma_255"]): r for r in files.read_csv(denoisers.STRENGTHS)}
    again = list(files.read_csv(tmp_path / "again.csv"))
    assert len(again) == 2 * len(strengths.SIGMAS)
    assert all(shipped[row["method"], row["channels"], row["sigma_255"]] == row for row in again)


def test_scores_are_read_from_the_card_and_the_comparison(tmp_path):
    found = {entry.name: entry for entry in denoisers.known()}
    assert {one.test_set for one in denoisers.measured(found["gray_fast"], tmp_path)} >= {"BSD68", "Set12"}
    workspace(tmp_path, "mine")
    head, cells = "gaussian (sigma 25 of 255, per channel, {}) (`p`)", "30.73 [30.24, 31.24] | +10.56 | 0.8738 |"
    rows = [f"| CBSD68 | {head.format(how)} | 68 | **mine** | {cells}" for how in ("clipped, 8 bits", "not clipped")]
    (tmp_path / "models/mine/README.md").write_text("\n".join([*rows, rows[0].replace("**", "")]))
    (mine,) = denoisers.trained(tmp_path)
    assert denoisers.measured(replace(mine, origin="released")) == [
        denoisers.Measured("CBSD68", noise, 30.73, 10.56) for noise in ("sigma 25 clipped", "sigma 25")
    ]
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "comparison.csv").write_text(
        "model,set,condition,psnr_mean,psnr_gain\nmine,set,sigma25,30.5,10.25\nother,set,sigma25,1,1\n"
    )
    (mine,) = denoisers.trained(tmp_path)
    assert denoisers.measured(mine, tmp_path) == [denoisers.Measured("set", "sigma25", 30.5, 10.25)]


def test_restoring_leaves_the_weights_in_place_so_that_threads_can_share_them():
    denoiser = denoisers.load("colour")
    before = [weight.data_ptr() for weight in denoiser.module.parameters()]
    denoiser.restore(noisy(photo(3), 25))
    assert [weight.data_ptr() for weight in denoiser.module.parameters()] == before
