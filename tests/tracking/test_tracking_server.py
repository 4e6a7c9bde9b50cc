"""A tracking server as docs/tracking-server.md sets it up: on PostgreSQL, artifacts through the server."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pytest

from denoiselab import tracking
from denoiselab.app import denoisers
from denoiselab.models import model_store
from denoiselab.runtime import files, paths
from pipeline import evaluate, promote, train
from tests import nets, postgres
from tests.conftest import ROOT
from tests.servers import NO_JOBS, documented, free_port, running, stop

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs" / "tracking-server.md"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tracking-server")
    nets.workspace(root)
    return root


@dataclass(frozen=True)
class Server:
    """A tracking server, and how to start it again once it is down."""

    address: str
    folder: Path
    process: subprocess.Popen[bytes]
    again: Callable[[], AbstractContextManager]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    address = f"http://127.0.0.1:{port}"
    with postgres.server() as database:
        places = {"backend_store_uri": database, "artifacts_destination": str(folder / "artifacts")}
        command = [*documented(DOCS, "mlflow server --backend-store-uri", port=str(port), **places), "--workers", "1"]
        start = partial(running, command, f"{address}/health", folder / "server.log", **NO_JOBS)
        with start() as process:
            yield Server(address, folder, process, start)


@pytest.fixture
def here(project, server, tmp_path, monkeypatch) -> Path:
    """The project as the working directory, whose store would be elsewhere if the server's address did not count."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.setattr(tracking.worker, "PATIENCE_S", 600)  # of a busy machine
    return tmp_path


def runs(address: str) -> tuple[mlflow.MlflowClient, list]:
    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name("denoiselab")
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")
    return client, client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])


def test_training_evaluation_and_promotion_by_a_server(server, here, monkeypatch):
    for stage in (train, evaluate, promote):
        monkeypatch.setattr("sys.argv", [stage.__name__, "long"])
        stage.main()
    client, (run,) = runs(server.address)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.steps"] == str(nets.STEPS["long"])
    assert len(client.get_metric_history(run.info.run_id, "val/psnr")) == nets.STEPS["long"] // 20
    metrics = files.read_json(paths.evaluation("long") / "metrics.json")
    assert run.data.metrics["test/sigma25/psnr"] == pytest.approx(metrics["sigma25"]["psnr"])
    folder = client.download_artifacts(run.info.run_id, "weights", str(here))
    assert model_store.digest(Path(folder)) == model_store.digest(paths.model("long"))
    there = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert there >= {"weights", "test", "images", "service"}
    picture = np.random.default_rng(0).random((45, 31, 3), np.float32)
    restored = denoisers.load("models:/denoiselab@champion").restore(picture)
    np.testing.assert_array_equal(restored, denoisers.load("models/long").restore(picture))
    assert list((server.folder / "artifacts").rglob("per_image.csv"))
    assert not (here / "mlflow.db").exists() and not (here / "mlartifacts").exists()


def test_a_server_that_goes_down_in_mid_training(server, here, monkeypatch, capsys):
    """The training goes on, and what evaluate logs when the server is back is the whole run."""
    monkeypatch.setattr(tracking.worker, "ATTEMPTS", 2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    card = model_store.read_card(paths.model("short"))
    with tracking.training("short", card, "fingerprint", paths.model("short")) as log:
        log(0, {"step": 0, "val_psnr": 18.0})
        started = _wait_for_run(server.address)
        stop(server.process)
        log(20, {"step": 20, "val_psnr": 19.0})
    said = capsys.readouterr().err
    assert f"warning: MLflow: {server.address}: Connection refused; " in said
    assert "training and its files are not affected; stage evaluate logs the run later" in said
    with server.again():
        nets.log("short")
        client, found = runs(server.address)
        (run,) = [one for one in found if one.data.tags.get("from_files")]
        assert run.info.status == "FINISHED" and run.info.run_id != started
        history = list(files.read_csv(paths.history("short")))
        logged = [m.value for m in client.get_metric_history(run.info.run_id, "val/psnr")]
        assert logged == pytest.approx([float(row["val_psnr"]) for row in history if row["val_psnr"]])
        assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"weights", "test"}


def _wait_for_run(address: str) -> str:
    """The run of `short`, once its first validation is there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if mlflow.MlflowClient(address).get_experiment_by_name("denoiselab"):
            for run in runs(address)[1]:
                if "val/psnr" in run.data.metrics and run.data.tags["model"] == "short":
                    return str(run.info.run_id)
        time.sleep(0.2)
    raise AssertionError("the training's run did not come")
