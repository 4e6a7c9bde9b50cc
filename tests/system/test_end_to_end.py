"""End-to-end tests: `dvc repro` and `dvc exp run` in a separate Git repository, as users run them."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from denoiselab.runtime import files
from tests.projects import DVC, TINY, compose, dvc, make_project, mirrored, reproduce, runs, setting, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("project"), store=False)
    dvc(folder, "repro")
    return folder


def test_repro_writes_the_report(project):
    table = pd.read_csv(project / "reports/comparison.csv")
    assert list(table.model) == ["noisy", "gaussian", "unet"]
    columns = "model condition protocol n_images psnr_mean psnr_low psnr_high ssim_mean mse_mean parameters"
    assert set(columns.split()) <= set(table.columns)
    assert (table.protocol == "awgn-unclipped").all()
    assert table.set_index("model").psnr_mean["noisy"] == pytest.approx(20.17, abs=0.02)
    assert table.set_index("model").psnr_mean["gaussian"] > 25
    report = (project / "reports/report.md").read_text(encoding="utf-8")
    page = (project / "reports/report.html").read_text(encoding="utf-8")
    for model, row in table.set_index("model").iterrows():
        assert f"| {model} |" in report
        assert f"{row.psnr_mean:.2f} [{row.psnr_low:.2f}, {row.psnr_high:.2f}]" in report
        assert f"{row.psnr_mean:.2f} [{row.psnr_low:.2f}, {row.psnr_high:.2f}]" in page
    assert 'src="data:image/png' in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_second_repro_does_nothing(project):
    assert "Data and pipelines are up to date" in dvc(project, "repro")


def test_dvc_shows_metrics_and_plots(project):
    shown = json.loads(dvc(project, "metrics", "show", "--json"))
    assert "reports/summary.json" in json.dumps(shown)
    assert dvc(project, "plots", "show", "--json").count("reports/train/unet.csv")


def test_every_model_has_a_finished_run_and_loads_for_other_image_sizes(project):
    import mlflow
    import torch

    client, found = runs(project)
    assert {run.data.tags["model"] for run in found} == {"noisy", "gaussian", "unet"}
    assert {run.info.status for run in found} == {"FINISHED"}
    run = next(run for run in found if run.data.tags["model"] == "unet")
    assert run.data.params["train.steps"] == "40"
    metrics = json.loads((project / "reports/evaluate/unet/metrics.json").read_text())
    assert run.data.metrics["test/sigma25/psnr"] == pytest.approx(metrics["sigma25"]["psnr"])
    assert len(client.get_metric_history(run.info.run_id, "val/psnr")) == 8
    assert [a.path for a in client.list_artifacts(run.info.run_id, "images")]
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    model = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/unet")
    with torch.no_grad():
        assert model(torch.rand(1, 3, 37, 91)).shape == (1, 3, 37, 91)


def test_an_experiment_in_a_copy_trains_only_the_changed_model_and_logs_to_the_same_store(project):
    output = dvc(project, "exp", "run", "--temp", *setting([*TINY, "model=unet", "models.unet.lr=0.001"]))
    assert "Running stage 'train@unet'" in output
    assert "Running stage 'train@gaussian'" not in output
    assert "Stage 'train@noisy' didn't change" in output or "Stage 'train@noisy' is cached" in output
    client, found = runs(project)
    run = next(run for run in found if run.data.tags.get("dvc.exp_name") and run.data.tags["model"] == "unet")
    assert run.data.params["train.lr"] == "0.001"
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(project / "mlartifacts")
    assert client.list_artifacts(run.info.run_id, "weights")
    assert run.data.metrics["test/sigma25/psnr"] > 0


def weights(project: Path) -> str:
    return files.sha256(project / "models/unet")


def kill_at_random(project: Path, *args: str, seed: int) -> None:
    """Send SIGKILL to the command's process group at a random time after its first checkpoint."""
    states = project / ".ckpt"
    shutil.rmtree(states, ignore_errors=True)
    process = start(project, *args)
    deadline = time.monotonic() + 120
    while not list(states.glob("*/state.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    time.sleep(random.Random(seed).uniform(0, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


LONGER = [*TINY, "model=unet", "train.steps=120"]


@pytest.fixture(scope="module")
def undisturbed(project) -> str:
    compose(project, *LONGER)
    dvc(project, "repro", "train@unet")
    return weights(project)


@pytest.mark.parametrize(
    ("command", "seed"), [("repro", 0), pytest.param("repro", 1, marks=pytest.mark.long), ("exp", 2)]
)
def test_a_killed_training_resumes_to_the_same_bytes(project, undisturbed, command, seed):
    """The seed decides when the training is killed."""
    args = ["repro", "-f", "-s", "train@unet"]
    if command == "exp":
        args = ["exp", "run", "-f", "-s", "train@unet", *setting(LONGER)]
    shutil.rmtree(project / "models/unet")
    kill_at_random(project, str(DVC), *args, seed=seed)
    assert not (project / "models/unet").exists()
    output = dvc(project, *args)
    assert "resuming at step" in output
    assert weights(project) == undisturbed
    _, found = runs(project)
    assert {run.info.status for run in found} == {"FINISHED"}


@mirrored
@pytest.mark.long
def test_the_published_dncnn_is_reproduced(tmp_path):
    project = make_project(tmp_path)
    reproduce(project, "recipe=published_dncnn")
    table = pd.read_csv(project / "reports/comparison.csv").set_index(["model", "set"])
    for name, published, psnr, ssim in (("BSD68", 29.23, 29.2331, 0.82789), ("Set12", 30.44, 30.4316, 0.86165)):
        row = table.loc["dncnn25_kair", name]
        assert row.psnr_mean == pytest.approx(psnr, abs=0.001)
        assert row.ssim_mean == pytest.approx(ssim, abs=0.00002)
        assert row.published == published
        assert row.minus_published == pytest.approx(psnr - published, abs=0.001)
        report = (project / "reports/report.md").read_text(encoding="utf-8")
        assert f"| {published:.2f} (DnCNN-S) | {psnr:.2f} | {psnr - published:+.2f} |" in report
    assert "| MIT | 400 gray images of BSDS500 (no licence stated) |" in report


@mirrored
@pytest.mark.parametrize(
    ("overrides", "sets", "protocol", "noisy"),
    [
        (["data=bsds500"], {"BSDS500-val": 100, "CBSD68": 68}, "awgn-unclipped", 20.18),
        (["data=polyu", "noise=real", "train.val_patches=32"], {"PolyU": 12}, "real-pairs", 35.62),
        (["data=cifar10_4k"], {"cifar10_4k": 600}, "awgn-unclipped", 20.17),
        (["data=afhq", "data.limit.test=9", "noise=bsds_clipped25"], {"AFHQ-val": 9}, "awgn-clipped8", 20.37),
    ],
    ids=["bsds500", "polyu", "cifar10_4k", "afhq"],
)
def test_an_experiment_on_a_real_data_set(tmp_path, overrides, sets, protocol, noisy):
    project = make_project(tmp_path)
    reproduce(project, *TINY, "models.unet.widths=[8,16]", "train.validate_every=20", *overrides)
    table = pd.read_csv(project / "reports/comparison.csv")
    assert dict(zip(table.set, table.n_images, strict=True)) == sets
    assert set(table.model) == {"noisy", "gaussian", "unet"}
    assert set(table.protocol) == {protocol}
    assert table[table.model == "noisy"].psnr_mean.to_numpy() == pytest.approx(noisy, abs=0.1)
    assert (table[table.model == "gaussian"].psnr_gain > 0.5).all()
    report = (project / "reports/report.md").read_text(encoding="utf-8")
    assert "Licence: " in report
    assert "Alarm: leak" not in report


def test_an_allowed_leak_is_shown_in_red(tmp_path, astronaut):
    project, photos = make_project(tmp_path / "project"), tmp_path / "photos"
    photos.mkdir()
    for n in range(6):
        Image.fromarray(astronaut[: 200 + n, 100:300]).save(photos / f"{n}.png")
    overrides = [*TINY, "data=folder", f"data.path={photos}", "model=gaussian"]
    assert "leak: " in dvc(project, "exp", "run", *setting(overrides), rc=255)
    reproduce(project, *overrides, "data.allow_leak=true")
    assert "> **Alarm: leak. " in (project / "reports/report.md").read_text(encoding="utf-8")
    assert '<blockquote class="alarm">' in (project / "reports/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=folder", "data.path=/nowhere"], "/nowhere"),
        (["models.unet.dept=3"], "models.unet: unknown key 'dept'; allowed: channels, widths, blocks"),
        (["model=vgg"], "Could not find 'model/vgg'"),
        (["noise=fog"], "Could not find 'noise/fog'"),
        (["train.steps=many"], "train.steps: input should be a valid integer"),
    ],
)
def test_errors_name_the_invalid_setting(project, overrides, said):
    before = weights(project)
    settings = setting([*TINY, *overrides])
    process = start(project, str(DVC), "exp", "run", "--temp", *settings)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert said in output
    assert "Traceback" not in output
    assert weights(project) == before
