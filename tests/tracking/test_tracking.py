"""Tracking: a fault of the store never reaches the training, and the run is made up for from the files."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from threading import Event, Timer

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from alembic.operations import Operations

from denoiselab import architectures, tracking
from denoiselab.data import manifest
from denoiselab.models import model_store
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.processes import alive
from denoiselab.tracking import content, ping
from denoiselab.tracking import runs as runs_module
from pipeline import ui
from tests.conftest import ROOT

CARD = {
    "name": "small",
    "architecture": {"arch": "dncnn", "channels": 1, "depth": 2, "features": 2, "batch_norm": False},
    "task": "restore",
    "adopted": None,
    "classes": [],
    "seed": 0,
    "train": {"lr": 0.1},
    "noise": {"name": "gaussian25"},
    "data_sha256": "0",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def root(store, monkeypatch):
    """An empty project with one trained model, as the working directory."""
    monkeypatch.chdir(store)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    torch.manual_seed(0)
    model = architectures.build(CARD["architecture"])
    model_store.save(paths.model("small"), {name: model.state_dict() for name in ("best_psnr", "best_ssim")}, CARD)
    files.write_csv(
        paths.history("small"),
        ["seed", "step", "loss", "val_psnr"],
        [{"seed": 0, "step": 5, "loss": 0.5, "val_psnr": 20.0}],
    )
    return store


@pytest.fixture
def tested(root):
    """Its scores of one test image, and those of its training from another seed."""
    rows = [{"condition": "sigma25", "image": "a", "draw": 0, "seed": seed, "psnr": 30.0 + seed} for seed in (0, 1)]
    files.write_csv(paths.evaluation("small") / "per_image.csv", list(rows[0]), rows)
    image = {"image": "a", "split": "test", "label": "", "group": "a", "sets": "s", "path": "a.png", "source": "s"}
    image |= {"sha256": "clean", "noisy": "", "noisy_sha256": "", "dhash": "", "width": 8, "height": 8}
    manifest.write(paths.RAW, [manifest.Row(**image)])
    stored = {"image": "a", "draw": 0, "file": "test-00000-0.npy", "sha256": "noisy", "psnr_noisy": 20.0}
    files.write_json(paths.NOISY / "sigma25" / "index.json", {"test": [stored]})


def runs(root):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    return client, client.search_runs([client.get_experiment_by_name("denoiselab").experiment_id])


def evaluate() -> None:
    picture = np.zeros((8, 24, 1), np.uint8)
    tracking.log_evaluation(
        "small", paths.model("small"), {"parameters": 2, "sigma25": {"psnr": 30.0}}, [("test/IMG (1) \u00e4", picture)]
    )


def test_training_and_evaluation_are_one_run(root, tested):
    with tracking.training("small", CARD, "abc", paths.model("small")) as log:
        log(5, {"step": 5, "loss": 0.5, "val_psnr": 20.0})
    evaluate()
    client, (run,) = runs(root)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.lr"] == "0.1"
    assert run.data.params["data.name"] == run.data.tags["data"] == "embedded"
    assert run.data.metrics == {"train/loss": 0.5, "val/psnr": 20.0, "test/sigma25/psnr": 30.0}
    assert run.data.tags["mlflow.source.name"] == "python -m pipeline.train small"
    assert "small" in run.data.tags["mlflow.note.content"]
    ((data,),) = [[inputs.dataset for inputs in run.inputs.dataset_inputs]]
    assert (data.name, data.digest) == ("embedded", CARD["data_sha256"])
    assert client.list_artifacts(run.info.run_id, "images")
    rows = list(files.read_csv(Path(client.download_artifacts(run.info.run_id, "test/per_image.csv", str(root)))))
    expected = {"condition": "sigma25", "image": "a", "draw": "0", "seed": "0", "psnr": "30.0"}
    assert rows == [expected | {"psnr_noisy": "20.0", "clean_sha256": "clean", "noisy_sha256": "noisy"}]
    evaluate()  # again: the table still has one row
    table = pd.read_json(client.download_artifacts(run.info.run_id, "test/per_image.json", str(root)), orient="split")
    assert table.psnr.tolist() == [30.0]
    assert "test/per_image.json" in client.get_run(run.info.run_id).data.tags["mlflow.loggedArtifacts"]


def test_a_failed_training_goes_on_in_its_run_and_logs_no_step_twice(root):
    with pytest.raises(RuntimeError), tracking.training("small", CARD, "abc", paths.model("small")) as log:
        log(5, {"step": 5, "val_psnr": 20.0})
        raise RuntimeError
    assert runs(root)[1][0].info.status == "FAILED"
    with tracking.training("small", CARD, "abc", paths.model("small")) as log:
        log(5, {"step": 5, "val_psnr": 20.0})
        log(10, {"step": 10, "val_psnr": 21.0})
    client, (run,) = runs(root)
    assert run.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val/psnr")] == [5, 10]


def test_a_store_that_is_down_does_not_stop_a_training(root, tested, monkeypatch, capsys):
    monkeypatch.setattr(tracking.worker, "ATTEMPTS", 2)
    with monkeypatch.context() as down:
        down.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
        down.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with tracking.training("small", CARD, "abc", paths.model("small")) as log:
            log(5, {"step": 5, "val_psnr": 20.0})
    assert "warning: MLflow" in capsys.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    evaluate()
    _, (run,) = runs(root)
    assert run.data.tags["from_files"] == "true"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val/psnr"] == 20.0
    assert run.data.metrics["test/sigma25/psnr"] == 30.0


def test_a_store_that_goes_down_in_mid_run_leaves_no_run_running(root, tested, monkeypatch, capsys):
    logged, values = Event(), content.values
    monkeypatch.setattr(content, "values", lambda *row: (values(*row), logged.set()))
    monkeypatch.setattr(tracking.worker, "ATTEMPTS", 1)
    with monkeypatch.context() as down, tracking.training("small", CARD, "abc", paths.model("small")) as log:
        log(5, {"step": 5, "val_psnr": 20.0})
        assert logged.wait(60)
        down.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
        down.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "warning: MLflow" in capsys.readouterr().err
    _, (run,) = runs(root)
    assert run.info.status == "RUNNING"
    evaluate()
    statuses = {run.info.status: run for run in runs(root)[1]}
    assert {*statuses} == {"KILLED", "FINISHED"}
    assert statuses["FINISHED"].data.metrics["val/psnr"] == 20.0
    assert statuses["FINISHED"].data.metrics["test/sigma25/psnr"] == 30.0


def test_an_answer_that_is_lost_logs_no_step_twice(root, monkeypatch):
    """The store has done what it was asked, but the call fails, and is tried again a while later."""
    values, calls = content.values, []

    def lossy(*row) -> None:
        calls.append(row)
        values(*row)
        if len(calls) == 1:
            raise OSError("the answer is lost")

    monkeypatch.setattr(content, "values", lossy)
    with tracking.training("small", CARD, "abc", None) as log:
        log(5, {"step": 5, "val_psnr": 20.0})
    client, (run,) = runs(root)
    assert len(calls) == 2
    assert len(client.get_metric_history(run.info.run_id, "val/psnr")) == 1


def test_a_database_that_was_being_made_when_all_stopped_is_made_again(root, monkeypatch):
    """As by a kill or a full disk in the middle of MLflow's migrations."""
    (root / "mlflow.db").unlink()
    execute = Operations.create_table
    made = []

    def stopping(self, name, *args, **kwargs):
        made.append(name)
        if len(made) == 5:
            raise OSError("no space left")
        return execute(self, name, *args, **kwargs)

    monkeypatch.setattr(Operations, "create_table", stopping)
    with pytest.raises(OSError, match="no space left"):
        tracking.runs.experiment_id()
    assert len(made) == 5 and not (root / "mlflow.db").exists()
    assert tracking.runs.experiment_id()
    assert not list((root / ".tracking").glob("*.new*"))


def test_a_store_that_gets_on_is_waited_for(monkeypatch, capsys):
    monkeypatch.setattr(tracking.worker, "PATIENCE_S", 0.5)
    busy, stuck, never, done = tracking.Worker("later"), tracking.Worker("later"), Event(), []
    for number in range(6):
        busy.do(lambda number=number: done.append(number) if not never.wait(0.2) else None)
    busy.finish()
    assert done == [*range(6)] and not capsys.readouterr().err
    stuck.do(lambda: never.wait() and None)
    stuck.finish()
    assert "did not answer in time" in capsys.readouterr().err
    never.set()


STUCK = """\
import atexit, sys, threading
import pipeline
from denoiselab.runtime.errors import UserError
from denoiselab.tracking import worker

def stage():
    worker.PATIENCE_S = 0.2
    store = worker.Worker("logged later")
    store.do(threading.Event().wait)
    store.finish()
    print("trained")
    if sys.argv[1] == "fails":
        raise UserError("no such model")

atexit.register(print, "Python ended")
pipeline.run(stage)
"""


@pytest.mark.parametrize(("how", "code", "last"), [("works", 0, "logged later"), ("fails", 1, "no such model")])
def test_a_stage_ends_at_once_beside_a_call_that_does_not(how, code, last):
    """Python's own ending aborts processes whose threads are in C++ code, with exit code 134."""
    done = subprocess.run([sys.executable, "-c", STUCK, how], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "trained\n")
    assert "did not answer in time" in done.stderr and done.stderr.rstrip().endswith(last)


KILLED = """\
import os
from pathlib import Path
from denoiselab import tracking
from tests.tracking.test_tracking import CARD
with tracking.training("small", CARD, "abc", Path("models/small")) as log:
    log(5, {"val_psnr": 20.0})
    while not tracking.runs.connect().search_runs(["1"], "metrics.`val/psnr` > 0"):
        pass
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("marked_by", [runs_module.mark_killed_runs, ui.main])
def test_a_killed_training_is_marked_killed(root, monkeypatch, marked_by):
    """By the next evaluation, and by `make ui`, which shows the runs."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # of the tests: the package's place is known
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment, timeout=120).returncode == -signal.SIGKILL
    assert [run.info.status for run in runs(root)[1]] == ["RUNNING"]
    started = []
    monkeypatch.setattr(os, "execve", lambda *command: started.append(command))
    marked_by()
    for _, command, environment in started:
        assert command[-6:] == ["--host", "127.0.0.1", "--port", "5000", "--workers", "1"]
        assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{root / 'mlflow.db'}"
    assert len(started) == (marked_by is ui.main)
    assert [run.info.status for run in runs(root)[1]] == ["KILLED"]


def test_a_resumed_training_belongs_to_the_experiment_that_resumes_it(root, tested, monkeypatch):
    """DVC names each `dvc exp run` anew."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DVC_EXP_NAME": "lucky-cat"}
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment, timeout=120).returncode == -signal.SIGKILL
    monkeypatch.setenv("DVC_EXP_NAME", "bold-dog")
    with tracking.training("small", CARD, "abc", paths.model("small")) as log:
        log(10, {"step": 10, "val_psnr": 21.0})
    evaluate()
    _, (run,) = runs(root)
    assert (run.data.tags["dvc.exp_name"], run.info.run_name) == ("bold-dog", "small-bold-dog")
    assert run.info.status == "FINISHED" and run.data.metrics["test/sigma25/psnr"] == 30.0


@pytest.mark.parametrize("call", ["log_batch", "log_inputs"])
@pytest.mark.parametrize("from_files", [False, True])
def test_a_call_that_fails_once_leaves_one_whole_run(root, tested, monkeypatch, call, from_files):
    import mlflow

    works, calls = getattr(mlflow.MlflowClient, call), []

    def once(*args, **kwargs):
        calls.append(call)
        if len(calls) == 1:
            raise OSError("the disk was busy")
        return works(*args, **kwargs)

    monkeypatch.setattr(mlflow.MlflowClient, call, once)
    if not from_files:
        with tracking.training("small", CARD, "abc", paths.model("small")) as log:
            log(5, {"step": 5, "val_psnr": 20.0})
    evaluate()
    _, (run,) = runs(root)
    assert len(calls) > 1 and run.info.status == "FINISHED"
    assert run.data.params["data.name"] == "embedded" and len(run.inputs.dataset_inputs) == 1


class Job:
    fingerprint = "abc"

    def card(self):
        return CARD


def test_trials_do_not_wait_for_a_search_without_a_run(root, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    with tracking.search("small", {"trials": 2}) as tracked:
        for number in range(2):
            with tracked(Job(), number) as log:
                log(5, {"step": 5, "val_psnr": 20.0})
    assert time.monotonic() - began < 3 * 5
    warnings = capfd.readouterr().err.splitlines()
    assert len(warnings) == 3 and all(line.startswith("warning: MLflow: ") for line in warnings)


def test_trials_of_a_deleted_experiment_are_not_tried_again(root, capfd):
    experiment = runs_module.experiment_id()
    runs_module.connect().delete_experiment(experiment)
    began = time.monotonic()
    with tracking.search("small", {"trials": 1}) as tracked, tracked(Job(), 0) as log:
        log(5, {"step": 5, "val_psnr": 20.0})
    assert time.monotonic() - began < 5
    assert "was deleted; to restore it" in capfd.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_failed_search_is_not_a_killed_one(root, error, status):
    with pytest.raises(error), tracking.search("small", {"trials": 1}):
        raise error
    _, (run,) = runs(root)
    assert run.info.status == status and run.data.params["trials"] == "1"


def test_a_relative_database_is_that_of_the_project(root, tmp_path_factory, monkeypatch):
    """Also in the copy of the project where a queued experiment runs."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db?timeout=5")
    monkeypatch.chdir(tmp_path_factory.mktemp("copy"))
    assert runs_module.uri() == f"sqlite:///{root}/other.db?timeout=5"
    assert ping.check().endswith("does not exist yet; the first training run creates it")
    runs_module.experiment_id()
    assert (root / "other.db").exists() and not list(Path.cwd().iterdir())
    assert ping.check().endswith("answers")


def test_no_store_is_made_to_mark_killed_runs(root):
    (root / "mlflow.db").unlink()
    before = sorted(root.rglob("*"))
    runs_module.mark_killed_runs()
    assert sorted(root.rglob("*")) == before


def test_a_deleted_experiment_is_named_at_once_with_the_cure(root, tested, capsys):
    evaluate()
    client, (run,) = runs(root)
    client.delete_experiment(run.info.experiment_id)
    began = time.monotonic()
    evaluate()
    with tracking.training("small", CARD, "abc", paths.model("small")) as log:
        log(5, {"step": 5, "val_psnr": 20.0})
    assert time.monotonic() - began < 5
    (first, *_) = warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2 and "the experiment denoiselab was deleted; to restore it: MLFLOW_TRACKING_URI=" in first
    command = first.partition("to restore it: ")[2].partition(";")[0]
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", command], check=True, env=os.environ | {"PATH": search})
    evaluate()
    assert not capsys.readouterr().err


def damaged(database: Path) -> None:
    database.write_bytes(b"x" * 4096 + database.read_bytes()[4096:])


def without_a_column(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("ALTER TABLE experiments RENAME COLUMN lifecycle_stage TO stage")


@pytest.mark.parametrize(
    ("harm", "said"),
    [(damaged, "file is not a database"), (without_a_column, "no such column: experiments.lifecycle_stage")],
)
def test_a_damaged_database_is_named_at_once_with_the_cure(root, tested, capfd, harm, said):
    database = root / "mlflow.db"
    harm(database)
    began = time.monotonic()
    evaluate()
    assert time.monotonic() - began < 5
    (warning,) = capfd.readouterr().err.splitlines()
    assert f"mlflow.db: {said}; restore the database from a backup, or move it away" in warning
    assert warning.endswith("to log them later: dvc repro -s -f evaluate@small")
    with pytest.raises(UserError, match=f"does not answer: .*{said}"):
        ui.main()


def test_an_empty_database_is_made_anew(root, tested, capfd):
    (root / "mlflow.db").write_bytes(b"")
    evaluate()
    assert not capfd.readouterr().err
    assert runs(root)[1][0].data.metrics["test/sigma25/psnr"] == 30.0


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://192.0.2.1:5000", "http://nobody.invalid:5000"])
def test_a_server_that_is_not_there_is_not_waited_for(root, tested, monkeypatch, capfd, address):
    """Nobody listens; no route, or no answer; no such name."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    began = time.monotonic()
    evaluate()
    assert time.monotonic() - began < 5
    (warning,) = capfd.readouterr().err.splitlines()
    assert warning.startswith(f"warning: MLflow: {address}: ") and "evaluate@small" in warning


def test_a_locked_database_is_waited_for_and_named(root, tested, monkeypatch, capfd):
    monkeypatch.setattr(tracking.worker, "ATTEMPTS", 2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}?timeout=0.5")
    with closing(sqlite3.connect(root / "mlflow.db", isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        evaluate()
        (warning,) = capfd.readouterr().err.splitlines()
        assert "mlflow.db?timeout=0.5: database is locked; scores and files are not affected" in warning
        monkeypatch.setattr(tracking.worker, "ATTEMPTS", 7)
        Timer(1, holder.rollback).start()
        evaluate()
    assert not capfd.readouterr().err


def test_a_database_restored_in_mid_training_gets_the_run_later(root, tested, capfd):
    """Restored from a backup that is older than the run."""
    runs_module.experiment_id()
    backup = (root / "mlflow.db").read_bytes()
    with tracking.training("small", CARD, "abc", paths.model("small")) as log:
        log(5, {"step": 5, "val_psnr": 20.0})
        deadline = time.monotonic() + 60
        while not runs(root)[1] or "val/psnr" not in runs(root)[1][0].data.metrics:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (root / "mlflow.db").write_bytes(backup)
        log(10, {"step": 10, "val_psnr": 21.0})
    assert "not found; training and its files are not affected" in capfd.readouterr().err
    evaluate()
    (run,) = runs(root)[1]
    assert run.info.status == "FINISHED" and run.data.metrics["test/sigma25/psnr"] == 30.0


def test_artifacts_move_with_the_project(root, tested, monkeypatch):
    evaluate()
    moved = root.rename(root.with_name(f"{root.name}-moved"))
    monkeypatch.chdir(moved)
    monkeypatch.setenv("DVC_ROOT", str(moved))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow sets it
    runs_module.mark_killed_runs()
    client, (run,) = runs(moved)
    assert run.info.artifact_uri.startswith((moved / "mlartifacts").as_uri())
    assert {file.path for file in client.list_artifacts(run.info.run_id, "test")} >= {"test/per_image.csv"}
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert model.tags["mlflow.note.content"] == run.data.tags["mlflow.note.content"] != ""
    assert Path(model.artifact_location.removeprefix("file://")).is_relative_to(moved)


def test_the_use_of_the_machine_is_logged_where_asked(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    runs_module.experiment_id()
    with tracking.training("small", CARD, "abc", paths.model("small")):
        deadline = time.monotonic() + 20
        while not (seen := runs(root)[1]) or "system/cpu_utilization_percentage" not in seen[0].data.metrics:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_classical_methods_have_no_settings_of_training(root):
    card = CARD | {"architecture": {"arch": "classical", "channels": 1, "method": "nlm"}, "augment": {"kind": "d4"}}
    with tracking.training("nlm", card, "abc", paths.model("small")):
        pass
    assert {key.partition(".")[0] for key in runs(root)[1][0].data.params}.isdisjoint({"train", "augment", "patches"})


def test_a_process_that_ended_but_was_not_waited_for_is_gone():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        process = psutil.Process(ended.pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not alive("here", ended.pid, "here")
    assert alive("here", os.getppid(), "here")
