"""Passwords in addresses never appear in output, logs, files or reports; servers listen only on this machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench._project import environment
from denoiselab import tracking
from denoiselab.app import cli
from denoiselab.config import Params, load
from denoiselab.models import model_store
from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError
from denoiselab.tracking import ping, runs
from pipeline import ui
from tests import nets
from tests.conftest import ROOT
from tests.servers import NO_JOBS, free_port, running

SECRET = "geheim4711"
CARD = {"architecture": {"arch": "dncnn"}, "noise": {"name": "gaussian25"}, "data_sha256": "0", "seed": 0}


def written(*folders: Path) -> list[str]:
    """Files in some folders that contain the secret in their name or content."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert found
    return [str(path) for path in found if SECRET in path.name or SECRET.encode() in path.read_bytes()]


@pytest.fixture
def quick(monkeypatch):
    """Give up at once on a store that does not answer."""
    monkeypatch.setattr(tracking.worker, "ATTEMPTS", 1)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    yield
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        os.environ.pop(name, None)


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_the_message_about_an_unreachable_store_hides_its_password(tmp_path, monkeypatch, capfd, quick, scheme):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://me:{SECRET}@127.0.0.1:{free_port()}/db")
    with tracking.training("net", CARD, "fingerprint", None) as log:
        log(0, {"step": 0, "val_psnr": 18.0})
    said = capfd.readouterr()
    assert "warning: MLflow" in said.err
    with pytest.raises(UserError, match="does not answer") as error:
        ping.check()
    with pytest.raises(UserError, match="MLflow: ") as other, runs.answering():
        runs.connect().search_experiments()
    with pytest.raises(SystemExit):
        cli.main(["denoise", str(ROOT / "params.yaml"), "x.png", "--model", "models:/net@champion"])
    with pytest.raises(SystemExit) as end:
        cli.main(["export", "models:/net@champion", "x.onnx"])
    shown = f"{said} {error.value} {other.value} {end.value} {capfd.readouterr()}"
    assert "127.0.0.1" in shown and SECRET not in shown
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_run_on_a_server_stores_and_prints_no_password(tmp_path, migrated, monkeypatch, capfd, quick):
    """Training, evaluation and promotion with the login in the address of the tracking server."""
    from pipeline import promote

    root, served = tmp_path / "project", tmp_path / "served"
    root.mkdir(), served.mkdir()
    nets.workspace(root)
    shutil.copyfile(migrated, served / "store.db")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = [
        "--backend-store-uri",
        f"sqlite:///{served / 'store.db'}",
        "--artifacts-destination",
        str(served / "kept"),
    ]
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:{port}")
    monkeypatch.setattr(tracking.worker, "PATIENCE_S", 600)
    with running([*command, *places], f"{address}/health", tmp_path / "server.log", **NO_JOBS):
        card = model_store.read_card(paths.model("long"))
        with tracking.training("long", card, "fingerprint", paths.model("long")) as log:
            log(0, {"step": 0, "val_psnr": 18.0})
        nets.log("long")
        monkeypatch.setattr("sys.argv", ["promote", "long"])
        promote.main()
        assert "answers" in ping.check()
        (run,) = runs.connect().search_runs([runs.experiment_id()])
        assert run.info.status == "FINISHED" and run.data.metrics
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    assert written(root, served) == [] and SECRET not in (tmp_path / "server.log").read_text()
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == SECRET  # how MLflow logs in


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("evaluate.lpips", {"vgg16": f"https://me:{SECRET}@host/a.pth", "sha256": "0" * 64, "heads": "h.pth"}),
        ("tune.storage", f"postgresql://me:{SECRET}@host/studies"),
        ("tune.storage", f"postgresql://me@host/studies?password={SECRET}"),
        (
            "data",
            {"name": "cifar10", "training": [], "tests": []}
            | {"cifar10": {"url": f"https://me:{SECRET}@host/a.tar.gz", "sha256": None}},
        ),
        (
            "models.net",
            {"arch": "dncnn", "needs": "data/patches", "weights": f"https://{SECRET}@host/a", "sha256": "0"},
        ),
    ],
)
def test_params_reject_passwords(tree, tmp_path, place, address):
    """Parameters end up in Git, dvc.lock, model cards and runs. The message does not repeat the password."""
    *parents, key = place.split(".")
    block = tree
    for parent in parents:
        block = block[parent]
    block[key] = address
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match="this file is in Git") as error:
        load(tmp_path / "params.yaml")
    assert SECRET not in str(error.value)


def test_addresses_without_passwords_are_accepted(tree):
    tree["tune"]["storage"] = "postgresql://search@10.0.0.5:5432/studies"
    tree["data"] |= {"name": "cifar10", "seed": 0, "limit": {"train": None, "val": None, "test": None}, "side": None}
    tree["data"] |= {"val_share": 0.1, "cifar10": {"url": "https://host:8080/a@b.tar.gz", "sha256": "0" * 64}}
    params = Params.model_validate(tree)
    assert params.tune.storage and params.data.name == "cifar10"


@pytest.mark.parametrize("stage", ["fetch", "train"])
def test_stages_print_no_passwords(tmp_path, stage):
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["tune"]["storage"] = f"postgresql://me:{SECRET}@host/x"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", f"pipeline.{stage}", *(["unet"] if stage == "train" else [])],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "tune.storage" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_mlflow_listens_only_on_this_machine():
    """In all commands that the project runs or documents, except those with a warning."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "Makefile", ROOT / "README.md")}
    texts |= {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")}
    commands = [
        line
        for text in texts.values()
        for line in text.replace("\\\n", " ").splitlines()
        if re.match(r"\s*(\S+=\S+ )*mlflow (ui|server|models serve)\b", line)
    ]
    assert commands
    assert all("--host 127.0.0.1" in line or "--host" not in line for line in commands), commands


def test_make_ui_listens_only_on_this_machine_and_keeps_the_password_off_the_command_line(monkeypatch):
    started = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://me:{SECRET}@localhost/mlflow")
    monkeypatch.setattr(ui.runs, "mark_killed_runs", lambda: None)
    monkeypatch.setattr(ui.runs, "experiment_id", lambda: "1")
    monkeypatch.setattr(os, "execve", lambda program, command, environment: started.append((command, environment)))
    ui.main()
    ((command, environment),) = started
    assert "--host 127.0.0.1" in " ".join(command) and SECRET not in " ".join(command)
    assert SECRET in environment["MLFLOW_BACKEND_STORE_URI"]
