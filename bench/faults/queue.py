"""Four workers of `dvc exp run --queue` that start at the same time with a new MLflow store."""

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


def trials(settings: Settings) -> Iterator[Trial]:
    for number in range(1 if settings.short else TIMES):
        yield Trial(f"{number}", partial(_queued, settings, number))


def _queued(settings: Settings, number: int) -> Row:
    """Run the queued experiments and check their runs in the store."""
    folder = settings.folder / f"queue{number}"
    shutil.copytree(_toy.finished(settings.folder / "toy").folder, folder, ignore=_toy.STORE)
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
    reasons = [f"{WORKERS - done} experiments failed: {status}"] if done < WORKERS else []
    shutil.rmtree(folder)
    good = WORKERS - len(lost) if done == WORKERS and not left else 0
    message = "; ".join([*reasons, *lost, *left])
    return Row("four queued workers, new store", "exp run", WORKERS, max(0, good), 0, len(lost), len(left), message)


def _well(folder: Path, *args: str) -> str:
    rc, output = _toy.dvc(folder, *args)
    if rc:
        raise RuntimeError(f"dvc {' '.join(args)}: exit code {rc}\n{output}")
    return output


def _ended(folder: Path) -> str:
    """The status of the queue once every experiment has ended, or at the time limit."""
    deadline = time.monotonic() + WORKERS * _toy.TIMEOUT_S
    while True:
        status = _well(folder, "queue", "status")
        if status.count("Success") + status.count("Failed") >= WORKERS or time.monotonic() > deadline:
            return status
        time.sleep(POLL_S)


def _unreadable(folder: Path) -> list[str]:
    """Faults in the runs: each experiment must have a complete run with loadable weights."""
    import mlflow

    _toy.mark_killed_runs(_toy.store(folder))
    client = mlflow.MlflowClient(_toy.store(folder))
    experiment = client.get_experiment_by_name("denoiselab")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    wrong = [f"run {run.info.run_name} is left RUNNING" for run in runs if run.info.status == "RUNNING"]
    finished = [run for run in runs if run.info.status == "FINISHED"]  # a busy store may have interrupted earlier runs
    names = {run.data.tags["dvc.exp_name"] for run in finished if run.data.tags.get("model") == "unet"}
    wrong += [f"{WORKERS - len(names)} experiments have no run"] if len(names) < WORKERS else []
    return wrong + [reason for run in finished for reason in _damage(client, run, folder)]


def _damage(client: Any, run: Any, folder: Path) -> list[str]:
    from mlflow.exceptions import MlflowException

    reasons = _toy.lacking(client, run, evaluated=True) if run.data.tags.get("model") == "unet" else []
    try:
        model_store.load(Path(client.download_artifacts(run.info.run_id, "weights", str(folder / ".git"))))
    except (OSError, ValueError, MlflowException) as error:
        reasons.append(f"run {run.info.run_name}: {error}")
    return reasons
