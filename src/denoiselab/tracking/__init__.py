"""MLflow tracking of training runs, evaluations and searches.

One background thread makes every call to the store, so that a slow, locked or unreachable store never delays a training
run. If logging fails, a warning says why, and how the run is logged later from the files.
"""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from denoiselab.models import model_store
from denoiselab.runtime import files, paths, stage_outputs
from denoiselab.runtime.errors import UserError
from denoiselab.tracking import content, runs
from denoiselab.tracking.worker import Worker

# What a warning about the store ends with.
TRAINED = "training and its files are not affected; stage evaluate logs the run later"
SEARCHED = "the search and its files are not affected"
EVALUATED = "scores and files are not affected; to log them later: dvc repro -s -f evaluate@{name}"
PARENT_S = 1  # seconds that each attempt of a trial waits for the run of its search

Log = Callable[[int, dict[str, float]], None]


@contextmanager
def training(
    name: str, card: dict[str, Any], fingerprint: str, folder: Path | None, parent: Future[str] | None = None
) -> Iterator[Log]:
    """The MLflow run of one training run; yields log(step, values). A resumed training run continues its MLflow run.

    An exception sets the status FAILED (or its attribute `run_status`), an interrupt or SIGTERM sets KILLED; both are
    raised again. At the end the weights in `folder` are logged. For a trial, `parent` is the run of its search and
    `folder` is None, as trials keep no weights.
    """
    worker = Worker(TRAINED)
    run: dict[str, str] = {}
    logged: set[int] = set()  # steps that were logged before a kill
    worker.do(lambda: run.update(id=runs.start(name, card, fingerprint, _id(parent) if parent else None)))
    worker.do(lambda: runs.describe_training(run["id"], card))
    worker.do(lambda: logged.update(content.steps(run["id"])))
    if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() in ("true", "1"):
        worker.do(lambda: content.monitor(run["id"]))  # until the run ends

    def log(step: int, values: dict[str, float]) -> None:
        at = content.now()
        worker.do(lambda: None if step in logged else content.values(run["id"], step, values, at))

    with _ended(worker, lambda: run["id"]):
        yield log
        worker.do(lambda: content.model_files(run["id"], folder) if folder else None)


@contextmanager
def search(model: str, settings: dict[str, Any]) -> Iterator[Callable[[Any, int], Any]]:
    """The MLflow run of a hyper-parameter search; yields tracked(job, number), which is `training` for one trial.

    A resumed search continues its run. The status at the end is that of `training`.
    """
    run: Future[str] = Future()

    def abandon() -> None:
        if not run.done():
            run.set_exception(UserError("the search has no run"))

    worker = Worker(SEARCHED, abandon)
    label = hashlib.sha256(json.dumps([model, settings], sort_keys=True).encode()).hexdigest()[:12]
    worker.do(lambda: run.set_result(runs.search(model, label)))
    worker.do(lambda: runs.describe(run.result(0), settings))
    with _ended(worker, lambda: run.result(0)):
        yield lambda job, number: training(f"{model}-trial{number}", job.card(), job.fingerprint, None, run)
        worker.do(lambda: runs.connect().log_artifacts(run.result(0), str(paths.tuning()), artifact_path="search"))


def log_evaluation(
    name: str, folder: Path, summary: dict[str, Any], pictures: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Log test metrics, per-image scores and images (key, (H, W, C) uint8) to the run that trained `folder`'s weights.

    If the store has no such run (weights from DVC's cache, or the store was unreachable), it is created from the
    files. Runs whose process is gone are marked KILLED first.
    """
    worker = Worker(EVALUATED.format(name=name))
    run: dict[str, str] = {}
    worker.do(runs.mark_killed_runs)
    worker.do(lambda: run.update(runs.find(folder) or _from_files(name, folder)))  # a run, not yet described
    worker.do(lambda: _fill(run["id"], name, folder) if "empty" in run else None)
    at = content.now()
    worker.do(lambda: content.test_scores(run["id"], summary, at))
    worker.do(lambda: content.test_rows(run["id"], name, folder))
    for key, pixels in pictures:
        worker.do(partial(content.log_image, run, key, pixels))
    worker.finish()


def _from_files(name: str, folder: Path) -> dict[str, str]:
    """A new run for a training run that is known only from its files."""
    return {
        "id": runs.create(runs.experiment_id(), name, _settings(folder), {"from_files": "true"}),
        "empty": "true",
    }


def _settings(folder: Path) -> dict[str, Any]:
    """The card of a training run as it was before the training."""
    later = ("format", "weights", "parameters", "steps", "best")
    return {key: value for key, value in model_store.read_card(folder).items() if key not in later}


def _fill(run: str, name: str, folder: Path) -> None:
    """Log settings, history and weights from the files."""
    runs.describe_training(run, _settings(folder))
    seed, at = model_store.read_card(folder)["seed"], content.now()
    for row in files.read_csv(stage_outputs.history(name)):
        values = {key: float(value) for key, value in row.items() if value and key != "seed"}
        if int(row["seed"]) == seed:
            content.values(run, int(values["step"]), values, at)
    content.model_files(run, folder)
    runs.connect().set_terminated(run, "FINISHED")


@contextmanager
def _ended(worker: Worker, run: Callable[[], str]) -> Iterator[None]:
    """Set the status of the run after the block, as `training` says, and wait for the worker."""
    status = "FINISHED"
    previous = signal.signal(signal.SIGTERM, _raise_exit)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    except Exception as error:
        status = getattr(error, "run_status", "FAILED")
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
        worker.do(lambda: runs.connect().set_terminated(run(), status))
        worker.finish()


def _id(search: Future[str]) -> str:
    """The id of a search's run. ConnectionError if there is none yet."""
    try:
        return search.result(PARENT_S)
    except TimeoutError:
        raise ConnectionError("the run of the search is not made yet") from None


def _raise_exit(signum: int, frame: Any) -> None:
    raise SystemExit(128 + signum)
