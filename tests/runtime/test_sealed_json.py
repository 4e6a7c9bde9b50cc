"""Truncated, corrupted and newer files are rejected with a remedy, never used."""

import json
import shutil

import numpy as np
import pytest
import torch

from denoiselab import architectures
from denoiselab.data import manifest, noise_sampling, noisy_sets, patches
from denoiselab.data.fetch import fetch
from denoiselab.imaging import dataset_images
from denoiselab.models import metadata, model_store
from denoiselab.runtime import files, paths, sealed_json, stage_outputs
from denoiselab.runtime.errors import UserError
from denoiselab.training import jobs
from denoiselab.training.checkpoint import Checkpoint
from tests.conftest import ROOT, composed, photograph

KIND = sealed_json.Kind(range(1, 4), sealed=3)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Outputs of the stages before train for a few small images: (params, folder with raw, patches, noisy)."""
    here = tmp_path_factory.mktemp("stored")
    for n in range(6):
        dataset_images.write_png(
            here / f"photos/{n}.png", photograph(("astronaut", "chelsea")[n % 2])[50 * n :][:48, :48]
        )
    small = ("patches.size=24", "patches.stride=24", "patches.val_size=24", "patches.scales=[1.0]", "noise=gaussian25")
    params = composed("data=folder", f"data.path={here / 'photos'}", "data.allow_leak=true", *small)
    fetch(params.data, here / "raw")
    patches.cut(here / "raw", params.patches, 3, here / "patches")
    noise_sampling.write(here / "raw", here / "patches", params, here / "noisy")
    return params, here


@pytest.fixture
def here(stored, tmp_path):
    """A copy of `stored` to damage."""
    shutil.copytree(stored[1], tmp_path / "here")
    return tmp_path / "here"


def flip(path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def use(params, folder) -> None:
    """Read everything in `folder` that later stages read."""
    patches.verify(folder / "patches")
    for name in noisy_sets.names(folder / "noisy"):
        noisy_sets.read(folder / "noisy", name)
        list(noisy_sets.test(folder / "raw", folder / "noisy", name, 3))
    noisy_sets.verify(folder / "noisy")
    patches.cut(folder / "raw", params.patches, 3, folder / "again")


def test_intact_files_are_used(stored, here):
    use(stored[0], here)
    assert patches.verify(here / "patches") == patches.verify(here / "again")


FILES = {
    "raw/manifest.csv": "fetch",
    "raw/dataset.json": "fetch",
    "raw/train/*.png": "fetch",
    "raw/test/*.png": "fetch",
    "patches/index.csv": "patchify",
    "patches/train-00000.npy": "patchify",
    "patches/patches.json": "patchify",
    "noisy/*/index.json": "add-noise",
    "noisy/*/val.npy": "add-noise",
    "noisy/*/test-00000-0.npy": "add-noise",
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_with_a_remedy(stored, here, name):
    """Random bit flips and truncations, except those that change no pixel or value."""
    path = next(here.glob(name))
    whole, size = path.read_bytes(), path.stat().st_size
    rng = np.random.default_rng(0)
    for damage in [
        *((flip, bit) for bit in rng.integers(0, 8 * size, 12)),
        *((cut, n) for n in rng.integers(0, size, 4)),
    ]:
        damage[0](path, int(damage[1]))
        same = path.suffix in (".png", ".json") and harmless(path, whole)
        if not same:
            with pytest.raises(UserError, match=rf"{path.name}.*dvc repro -f {FILES[name]}") as refusal:
                use(stored[0], here)
            assert "\n" not in str(refusal.value)
        path.write_bytes(whole)
    use(stored[0], here)


def cut(path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def harmless(path, whole: bytes) -> bool:
    """Whether the content is unchanged: white space in JSON, the checksum of a PNG chunk."""
    try:
        if path.suffix == ".json":
            return json.loads(path.read_bytes()) == json.loads(whole)
        found = dataset_images.read(path, 3)
        path.with_name("whole.png").write_bytes(whole)
        return np.array_equal(found, dataset_images.read(path.with_name("whole.png"), 3))
    except ValueError:
        return False


def test_noise_is_not_drawn_on_damaged_patches(stored, here):
    flip(here / "patches" / "val-00000.npy", 5000)
    with pytest.raises(UserError, match=r"val-00000.npy: differs from what was written; run `dvc repro -f patchify`"):
        noise_sampling.write(here / "raw", here / "patches", stored[0], here / "noisy")


def test_training_does_not_start_on_damaged_patches(stored, here, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setattr(jobs.paths, "PATCHES", here / "patches")
    monkeypatch.setattr(jobs.paths, "NOISY", here / "noisy")
    assert jobs.resolve_all(stored[0], "dncnn")
    flip(here / "patches" / "train-00000.npy", 5000)
    with pytest.raises(
        ValueError, match=r"train-00000.npy: differs from what was written; run `dvc repro -f patchify`"
    ):
        jobs.resolve_all(stored[0], "dncnn")


def model(folder) -> None:
    block = {"arch": "dncnn", "channels": 1, "depth": 3, "features": 2, "batch_norm": False}
    model_store.save(
        folder, {"best_psnr": architectures.build(block).state_dict()}, {"architecture": block, "adopted": None}
    )
    model_store.load(folder)


@pytest.mark.parametrize("name", ["model.json", "best_psnr.safetensors"])
def test_damaged_weights_are_not_loaded(tmp_path, name):
    model(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 97):
        flip(path, bit)
        if not (path.suffix == ".json" and harmless(path, whole)):
            with pytest.raises(UserError, match=name):
                model_store.load(tmp_path)
        path.write_bytes(whole)


def test_a_flipped_bit_in_a_checkpoint_is_detected(tmp_path, capsys):
    """Except in unused bytes of the zip container: times, attributes, gaps."""
    checkpoint, state = Checkpoint(tmp_path, "x"), {"run": {"step": 3}, "weights": torch.arange(400.0)}
    checkpoint.save(state)
    whole = checkpoint.path.read_bytes()
    noticed = 0
    for bit in range(0, 8 * len(whole), 101):
        checkpoint.path.write_bytes(whole)
        flip(checkpoint.path, bit)
        found = checkpoint.load()
        noticed += found is None
        assert found is None or (found["run"] == state["run"] and torch.equal(found["weights"], state["weights"]))
    assert capsys.readouterr().err.count("\n") == noticed > 100


def test_unsupported_formats_are_refused(tmp_path):
    KIND.write(tmp_path / "a.json", {"x": [1, 2.5], "y": None})
    assert KIND.read(tmp_path / "a.json", "mend it") == {"format": 3, "x": [1, 2.5], "y": None}
    for version in (4, 99, 0, -1, "3", 3.0, True, None):
        files.write_json(tmp_path / "b.json", {"format": version})
        with pytest.raises(
            ValueError, match=r"b.json: format .* is not supported, this version of denoiselab reads 1 to 3; "
        ) as error:
            KIND.read(tmp_path / "b.json", "mend it")
        newer = version in (4, 99)
        assert str(error.value).endswith("; update denoiselab, or mend it" if newer else "3; mend it")


def test_older_formats_are_read(tmp_path):
    """Format 1 has neither `format` nor `sha256`."""
    files.write_json(tmp_path / "a.json", {"x": 1})
    assert KIND.read(tmp_path / "a.json", "mend it") == {"x": 1}
    files.write_json(tmp_path / "a.json", {"format": 3, "x": 1})
    with pytest.raises(UserError, match=r"a.json: differs from what was written; mend it"):
        KIND.read(tmp_path / "a.json", "mend it")


def test_a_model_of_format_2_is_read(tmp_path):
    model(tmp_path)
    card = metadata.read(tmp_path)
    files.write_json(tmp_path / "model.json", card | {"format": 2, "weights": ["best_psnr"]})
    model_store.load(tmp_path)
    files.write_json(tmp_path / "model.json", card | {"format": 1})
    with pytest.raises(UserError, match=r"format 1 is not supported, .* reads 2 to 3; train it again"):
        metadata.read(tmp_path)


def test_data_of_format_1_are_read(stored, here):
    """Format 1 had no checksums."""
    dataset = json.loads((here / "raw" / "dataset.json").read_text())
    files.write_json(
        here / "raw" / "dataset.json", {k: dataset[k] for k in dataset if k not in ("format", "sha256", "files")}
    )
    (here / "patches" / "patches.json").unlink()
    for index in (here / "noisy").glob("*/index.json"):
        content = json.loads(index.read_text())
        files.write_json(index, {k: content[k] for k in content if k not in ("format", "sha256")})
    use(stored[0], here)
    cut(here / "patches" / "val-00000.npy", 900)
    with pytest.raises(UserError, match=r"val-00000.npy: cannot be read"):
        patches.load(here / "patches", "val")


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path, "x")
    checkpoint.save({"format": 2, "run": {}})
    with pytest.raises(
        ValueError, match=r"state.pt: format 2 is not supported, .* update denoiselab, or delete .*x to start again"
    ):
        checkpoint.load()
    assert checkpoint.path.exists()


def test_released_models_are_intact_and_of_the_latest_format():

    folders = [card.parent for card in (ROOT / "models" / "released").glob("*/model.json")]
    assert folders
    for folder in folders:
        card = metadata.read(folder)
        assert card["format"] == metadata.KIND.versions[-1] and all(card["weights"].values())
        assert isinstance(model_store.load(folder), torch.nn.Module)


def test_a_manifest_is_not_read_without_its_hash(here):
    assert manifest.read(here / "raw")
    (here / "raw" / "dataset.json").unlink()
    with pytest.raises(UserError, match=r"dataset.json: cannot be read: .*; run `dvc repro -f fetch`"):
        manifest.read(here / "raw")


@pytest.mark.parametrize("table", ["history", *stage_outputs.EVALUATED])
def test_a_damaged_table_is_not_used(tmp_path, monkeypatch, table):
    """History, scores and alarms: truncated, they are still valid tables with fewer rows."""
    monkeypatch.chdir(tmp_path)
    rows = [{"seed": 0, "step": step, "val_psnr": 20.0 + step} for step in (1, 2)]
    files.write_csv(paths.history("unet"), list(rows[0]), rows)
    stage_outputs.record_training("unet", {"seconds": 1.5, "trainings": 1})
    for name in stage_outputs.EVALUATED:
        files.write_text(paths.evaluation("unet") / name, "a,b\n1,2\n3,4\n")
    stage_outputs.record_evaluation("unet", {"ms_per_megapixel": 2.5})
    assert stage_outputs.training_cost("unet")["seconds"] == 1.5
    assert stage_outputs.inference_cost("unet")["ms_per_megapixel"] == 2.5
    stage = "train" if table == "history" else "evaluate"
    get = (
        (lambda: stage_outputs.history("unet"))
        if table == "history"
        else (lambda: stage_outputs.evaluated("unet", table))
    )
    path = get()
    cut(path, path.stat().st_size - 5)
    with pytest.raises(
        ValueError, match=rf"{path.name}: differs from what was written; .* `dvc repro -f {stage}@unet`"
    ):
        get()
