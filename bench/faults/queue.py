"""Four workers of `dvc exp run --queue` that start at once on a fresh MLflow store."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.faults import _toy
from bench.faults._trial import Row, Settings, Trial
from denoiselab.models import model_store

WORKERS, TIMES = 4, 20
POLL_S = 2
FRESH = shutil.ignore_patterns("mlflow.db", "mlartifacts", ".ckpt", ".tracking", "__pycache__")


def trials(settings: Settings) -> Iterator[Trial]:
    for number in range(1 if settings.short else TIMES):
        yield Trial(f"{number}", partial(_queued, settings, number))


def _queued(settings: Settings, number: int) -> Row:
    """What the experiments leave in the store."""
    folder = settings.folder / f"queue{number}"
    shutil.copytree(_toy.finished(settings.folder / "toy").folder, folder, ignore=FRESH)
    for command in (("add", "-A"), ("commit", "-qm", "Finish")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    rng = settings.random("queue", number)
    for _ in range(WORKERS):
        _well(folder, "exp", "run", "--no-hydra", "--queue", "-S", f"models.unet.lr={rng.uniform(1e-4, 1e-3):.8f}")
    _well(folder, "queue", "start", "-j", str(WORKERS))
    try:
        status = _ended(folder)
    finally:
        _toy.dvc(folder, "queue", "stop", "--kill")
    done = status.count("Success")
    lost, left = _unreadable(folder), _toy.leftovers(folder)
    reasons = [f"{WORKERS - done} experiments did not end well: {status}"] if done < WORKERS else []
    shutil.rmtree(folder)
    well = WORKERS - len(lost) if done == WORKERS and not left else 0
    message = "; ".join([*reasons, *lost, *left])
    return Row("four queued workers, a fresh store", "exp run", WORKERS, max(0, well), 0, len(lost), len(left), message)


def _well(folder: Path, *args: str) -> str:
    rc, said = _toy.dvc(folder, *args)
    if rc:
        raise RuntimeError(f"dvc {' '.join(args)}: exit code {rc}\n{said}")
    return said


def _ended(folder: Path) -> str:
    """The status of the queue once every experiment has ended, or when patience has."""
    deadline = time.monotonic() + WORKERS * _toy.PATIENCE_S
    while True:
        status = _well(folder, "queue", "status")
        if status.count("Success") + status.count("Failed") >= WORKERS or time.monotonic() > deadline:
            return status
        time.sleep(POLL_S)


def _unreadable(folder: Path) -> list[str]:
    """What is wrong with the runs: one for each experiment, whole, with weights that can be loaded."""
    import mlflow

    client = mlflow.MlflowClient(_toy.store(folder))
    experiment = client.get_experiment_by_name("denoiselab")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    wrong = [f"run {run.info.run_name} is left RUNNING" for run in runs if run.info.status == "RUNNING"]
    whole = [run for run in runs if run.info.status == "FINISHED"]  # a busy store may have cut one off before
    own = {run.data.tags["dvc.exp_name"] for run in whole if run.data.tags.get("model") == "unet"}
    wrong += [f"{WORKERS - len(own)} experiments have no run"] if len(own) < WORKERS else []
    return wrong + [reason for run in whole for reason in _damage(client, run, folder)]


def _damage(client: Any, run: Any, folder: Path) -> list[str]:
    from mlflow.exceptions import MlflowException

    reasons = _toy.lacking(client, run, evaluated=True) if run.data.tags.get("model") == "unet" else []
    try:
        model_store.load(Path(client.download_artifacts(run.info.run_id, "weights", str(folder / ".git"))))
    except (OSError, ValueError, MlflowException) as error:
        reasons.append(f"run {run.info.run_name}: {error}")
    return reasons
