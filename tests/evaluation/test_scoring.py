"""Stages evaluate and compare on a small folder of real photos: outputs that are not finite, and LPIPS."""

import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from denoiselab import config, report
from denoiselab.comparison import aggregate
from denoiselab.config import Params
from denoiselab.data import noise_sampling, noisy_sets, patches
from denoiselab.data.fetch import fetch
from denoiselab.evaluation import evaluator, kept_outputs, scoring
from denoiselab.evaluation.score_tables import ImageScore, summarise
from denoiselab.metrics import image_quality
from denoiselab.models import model_store, tiled_inference
from denoiselab.report.samples import decibels
from denoiselab.runtime import files, paths
from denoiselab.training import jobs
from tests.conftest import composed, photograph, trained
from tests.metrics.test_lpips import write_weights


def make(root: Path, **evaluate: object) -> Params:
    overrides = ["data=folder", f"data.path={root / 'photos'}", "model=gaussian", "data.drop_leaks=true"]
    small = [f"patches.{key}=48" for key in ("size", "stride", "val_size")]
    tree = composed(*overrides, *small, "patches.scales=[1.0]").model_dump(mode="json", exclude_unset=True)
    tree["train"] |= {"steps": 2, "validate_every": 1, "val_patches": 4, "crop": 32, "warmup_steps": 0}
    tree["evaluate"] |= {"samples": 1, "curve": {"levels": [10, 50], "images": 2, "crop": 32}} | evaluate
    net = {"arch": "dncnn", "needs": "data/patches", "channels": 3, "depth": 3, "features": 4, "batch_norm": False}
    tree["models"] |= {"net": net}
    return config.Params.model_validate(tree)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Params:
    """A folder as after the train stages, with a network whose weights are all NaN."""
    (tmp_path / "photos").mkdir()
    for n in range(20):
        Image.fromarray(photograph(("astronaut", "chelsea")[n % 2])[10 * n : 10 * n + 56, 14 * n : 14 * n + 56]).save(
            tmp_path / "photos" / f"{n}.png"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    params = make(tmp_path)
    fetch(params.data, paths.RAW)
    patches.cut(paths.RAW, params.patches, 3, paths.PATCHES)
    noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
    for name in params.models:
        trained(params, name)
    card = model_store.read_card(paths.model("net"))
    broken = {key: value * float("nan") for key, value in model_store.load(paths.model("net")).state_dict().items()}
    own = {key: value for key, value in card.items() if key not in ("format", "weights")}
    model_store.save(paths.model("net"), dict.fromkeys(card["weights"], broken), own)
    return params


def test_an_exact_output_has_100_db_and_is_counted():
    clean = photograph("astronaut")[:64, :64]
    noisy = (clean / 255).astype(np.float32)
    test = noisy_sets.TestImage(
        "x", "", "x", (), 0, clean, noisy, image_quality.capped_psnr(clean / 255, noisy, data_range=1)
    )
    assert test.psnr_noisy == image_quality.HIGHEST_PSNR == 100
    about = {"model": "m", "condition": "c", "protocol": "p", "protocol_sha256": "h", "sets": "s", "image": "x"}
    measured = [evaluator._measured(test, output) for output in (noisy, noisy + 0.1)]
    rows = [ImageScore(**about, label="", group="x", draw=0, seed=0, **scores) for scores in measured]
    assert rows[0].psnr == 100 and decibels(100) == "identical" and decibels(rows[1].psnr).endswith("dB")
    means = summarise(rows, 0)["c"]
    assert (means["identical"], means["not_finite"]) == (1, 0)
    assert means["psnr"] == pytest.approx((100 + rows[1].psnr) / 2)


def test_a_cuda_device_computes_in_one_thread_while_others_read_and_measure(params):
    threads: dict[str, list[threading.Thread]] = {"read": [], "compute": [], "predict": [], "measure": []}

    def step(name: str) -> Callable[[int], int]:
        return lambda test: threads[name].append(threading.current_thread()) or test + 1

    subject = SimpleNamespace(device=torch.device("cuda"), params=params, **{name: step(name) for name in threads})
    assert list(scoring._results(subject, range(40))) == list(range(4, 44))
    assert {*threads["compute"], *threads["predict"]} == {threading.current_thread()}
    assert threading.current_thread() not in {*threads["read"], *threads["measure"]}


@pytest.mark.parametrize("name", ["noisy", "gaussian"])
def test_models_without_weights_are_calibrated_and_evaluated_on_the_cpu(project, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert jobs.resolve(project, name).device.type == "cpu"
    assert evaluator.load(project, name, 0).device.type == "cpu"


class Killed(BaseException):
    pass


def test_a_killed_evaluation_of_a_slow_model_goes_on_where_it_was(project, monkeypatch):
    restored, stop, left = [], [0], paths.checkpoints()
    restore = tiled_inference.restore

    def counted(model, noisy, **options):
        restored.append(noisy.shape)
        if len(restored) == stop[0]:
            raise Killed
        return restore(model, noisy, **options)

    monkeypatch.setattr(tiled_inference, "restore", counted)
    monkeypatch.setattr(scoring, "ALONE", 1)
    scoring.evaluate(project, "gaussian")
    whole, scores = len(restored), (paths.evaluation("gaussian") / "per_image.csv").read_bytes()
    monkeypatch.setattr(kept_outputs, "SLOW_S", 0)
    restored.clear()
    stop[0] = whole - 1
    with pytest.raises(Killed):
        scoring.evaluate(project, "gaussian")
    (folder,) = left.glob("evaluate-*")
    found = sorted(folder.iterdir())
    assert found
    found[0].write_bytes(found[0].read_bytes()[:-200] + bytes(200))  # damaged: computed again
    restored.clear()
    stop[0] = 0
    scoring.evaluate(project, "gaussian")
    assert len(restored) == whole - len(found) + 1
    assert (paths.evaluation("gaussian") / "per_image.csv").read_bytes() == scores
    assert not list(left.glob("evaluate-*"))


def test_outputs_are_kept_until_they_are_logged(project, monkeypatch):
    monkeypatch.setattr(kept_outputs, "SLOW_S", 0)

    def killed(means):
        raise Killed

    with pytest.raises(Killed):
        scoring.evaluate(project, "gaussian", killed)
    assert list(paths.checkpoints().glob("evaluate-*/*.npz"))
    scoring.evaluate(project, "gaussian")
    assert not list(paths.checkpoints().glob("evaluate-*"))


def test_outputs_are_not_kept_on_a_disk_that_is_nearly_full(project, monkeypatch):
    monkeypatch.setattr(kept_outputs, "SLOW_S", 0)
    monkeypatch.setattr(kept_outputs, "ROOM", 1 << 60)
    left: list[Path] = []
    scoring.evaluate(project, "gaussian", lambda means: left.extend(paths.checkpoints().glob("evaluate-*/*")))
    assert not left


def test_a_killed_evaluation_leaves_no_files_outside_its_own_folder(project, monkeypatch, tmp_path):
    left = paths.samples("gaussian") / "waiting" / "sigma25-0.npy"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a killed one")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    scoring.evaluate(project, "gaussian")
    assert not left.parent.exists()
    assert any(paths.samples("gaussian").rglob("best.png"))


def test_outputs_are_kept_for_the_same_weights_and_settings_only(project):
    kept = evaluator.load(project, "net", 0).keeping()
    assert evaluator.load(project, "net", 0).keeping().kept == kept.kept
    other = "float32" if kept.precision == "bfloat16" else "bfloat16"
    others = [evaluator.load(project, "gaussian", 0).keeping(), replace(kept, precision=other).keeping()]
    assert len({kept.kept, *(other.kept for other in others)}) == 3


def test_a_model_that_gives_nan_is_reported_not_a_crash(project):
    for name in project.models:
        scoring.evaluate(project, name)
    summary = files.read_json(paths.evaluation("net") / "metrics.json")["sigma25"]
    assert (summary["psnr"], summary["ssim"], summary["mse"]) == (None, None, None)
    assert summary["not_finite"] == summary["images"] > 0 and summary["identical"] == 0
    assert files.read_json(paths.evaluation("gaussian") / "metrics.json")["sigma25"]["not_finite"] == 0
    assert [a["kind"] for a in files.read_json(paths.evaluation("net") / "alarms.json")] == ["not_finite"]
    assert files.read_json(paths.evaluation("noisy") / "alarms.json") == []
    assert files.read_json(paths.evaluation("gaussian") / "alarms.json") == []
    rows = aggregate.read(project)
    assert rows.psnr.dtype == float and rows[rows.model == "net"].psnr.isna().all()
    report.write(project)
    lines = paths.REPORT_MD.read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith(
        "> **Alarm: output not finite (sigma 25):** net: 100 % of the values are NaN or infinite on "
    )
    few = "> **Warning: too few images** (Photos from a folder, sigma 25). [Explanation](#warnings)"
    assert few in lines[3:9] and "## Warnings" in lines
    assert any(line.startswith("- **Too few images.** ") and ": a test needs at least " in line for line in lines)
    page = paths.REPORT_HTML.read_text(encoding="utf-8")
    assert page.count('<blockquote class="alarm">') == 1
    cost = paths.REPORT_COST.read_text(encoding="utf-8")
    front = cost[cost.index("## Photos from a folder, sigma 25") :]
    assert "| **gaussian** |" in front and "| net |" in front and "noisy" not in front
    assert files.read_json(paths.inference_cost("net"))["macs_per_megapixel"] == 9 * (12 + 16 + 12) * 10**6
    assert "| 0.4 |" in cost and ">0.4</td>" in page
    warnings = [line for line in lines if line.startswith("> **Warning: ")]
    assert page.count('<details class="warning">') == 1  # one line, folded
    assert page.count(f"<strong>{len(warnings)} warning") == 1 and ": a test needs at least " in page


def test_lpips_is_an_optional_column(project, tmp_path):
    params = make(tmp_path, lpips=write_weights(tmp_path))
    for name in params.models:
        scoring.evaluate(params, name)
    rows = aggregate.read(params)
    means = rows[rows.model != "net"].groupby("model").lpips.mean()
    assert 0 < means["gaussian"] < means["noisy"]
    assert rows[rows.model == "net"].lpips.isna().all()
    summary = files.read_json(paths.evaluation("gaussian") / "metrics.json")["sigma25"]
    assert summary["lpips"] == pytest.approx(means["gaussian"])
    report.write(params)
    text = paths.REPORT_MD.read_text(encoding="utf-8")
    assert "| LPIPS (lower is better) |" in text and f"**{means['gaussian']:.4f} [" in text
    scoring.evaluate(project, "gaussian")
    assert "lpips" not in (paths.evaluation("gaussian") / "per_image.csv").read_text()
