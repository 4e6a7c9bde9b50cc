"""MLflow, and nothing but MLflow: the only module that imports it.

Every call to the store is made by one background thread, so that a store that is slow, locked or down
never holds up a training. After a fault the run is logged by the evaluate stage, from the files.
"""

import hashlib
import json
import math
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from denoiselab import files, model_store, paths

EXPERIMENT = "denoiselab"
ATTEMPTS = 5  # at a call that fails; the pauses between them add up to 15 s
PATIENCE_S = 90  # how long the end of a stage waits for the store

Job = Callable[[], None]


@contextmanager
def training(name: str, card: dict[str, Any], fingerprint: str) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A run for one training; yields log(step, values). A training that goes on after a kill goes on in its run.

    Any exception marks the run FAILED, an interrupt or SIGTERM marks it KILLED; both are raised again.
    """
    worker = _Worker()
    run: dict[str, str] = {}
    logged: set[int] = set()  # steps that a killed training's run has already
    worker.do(lambda: run.update(id=_start(name, card, fingerprint)))
    worker.do(lambda: logged.update(_steps(run["id"])))
    status = "FAILED"
    previous = signal.signal(signal.SIGTERM, _raise_exit)
    try:
        yield lambda step, values: worker.do(lambda: None if step in logged else _log_values(run["id"], step, values))
        worker.do(lambda: _log_model(run["id"], name))
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
        worker.do(lambda: _client().set_terminated(run["id"], status))
        worker.finish()


def log_evaluation(name: str, summary: dict[str, Any], pictures: Iterable[tuple[str, np.ndarray]]) -> None:
    """Add the test metrics and pictures (key, (H, W, C) uint8) to the run that trained models/<name>/.

    Where the store has no such run (DVC took the weights from its cache, or the store was down), it is
    made from the files.
    """
    worker = _Worker()
    run: dict[str, str] = {}
    worker.do(lambda: run.update(_find(name) or _from_files(name)))
    worker.do(lambda: _fill(run["id"], name) if "empty" in run else None)
    worker.do(lambda: _log_test(run["id"], summary))
    for key, pixels in pictures:
        worker.do(partial(_log_picture, run, key, pixels))
    worker.finish()


class _Worker:
    """Does jobs in order on a thread of its own; the first one that keeps failing ends it with a warning."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[Job | None] = queue.Queue()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def do(self, job: Job) -> None:
        self.jobs.put(job)

    def finish(self) -> None:
        self.jobs.put(None)
        self.thread.join(PATIENCE_S)
        if self.thread.is_alive():
            _warn("the store did not answer in time")

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            for attempt in range(ATTEMPTS):
                try:
                    job()
                    break
                except Exception as error:  # noqa: BLE001  (no tracking fault may stop a training)
                    if isinstance(error, ValueError | TypeError | KeyError):  # trying again would not help
                        _warn(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
                        break
                    if attempt == ATTEMPTS - 1:
                        return _warn(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
                    time.sleep(2**attempt)
        return None


def _warn(reason: str) -> None:
    print(
        f"warning: MLflow: {reason}; training and its files are not affected, evaluate logs the run later",
        file=sys.stderr,
    )


def _raise_exit(signum: int, frame: Any) -> None:
    raise SystemExit(128 + signum)


def _client() -> Any:
    """The client of the one store: MLFLOW_TRACKING_URI, else SQLite in the main working tree."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import mlflow

    mlflow.set_tracking_uri(_uri())
    return mlflow.MlflowClient()


def _uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.shared_root() / 'mlflow.db'}"


def _experiment() -> str:
    """The experiment's id. A fresh store is made by one process at a time.

    A database without a server keeps its artifacts in the main working tree: the place is fixed when the experiment is
    made, and that of a queued experiment's copy would soon be gone.
    """
    from filelock import FileLock

    lock = paths.shared_root() / ".tracking" / "store.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        client = _client()
        found = client.get_experiment_by_name(EXPERIMENT)
        if found:
            return found.experiment_id
        served = _uri().startswith(("http://", "https://"))
        return client.create_experiment(EXPERIMENT, None if served else (paths.shared_root() / "mlartifacts").as_uri())


def _start(name: str, card: dict[str, Any], fingerprint: str) -> str:
    """A new run, or the one of the same training that was killed. Runs whose process is gone are marked KILLED."""
    experiment, client = _experiment(), _client()
    left = client.search_runs([experiment], "attributes.status != 'FINISHED'", order_by=["attributes.start_time DESC"])
    dead = [run for run in left if not _alive(run)]
    for run in dead:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
    same = [run for run in dead if run.data.tags.get("training") == fingerprint]
    if same:
        client.update_run(same[0].info.run_id, status="RUNNING")
        for key, value in _process().items():
            client.set_tag(same[0].info.run_id, key, value)
        client.log_batch(same[0].info.run_id, params=_params(card))
        return same[0].info.run_id
    return _create(experiment, name, card, {"training": fingerprint, **_process()})


def _create(experiment: str, name: str, card: dict[str, Any], tags: dict[str, str]) -> str:
    client = _client()
    label = os.environ.get("DVC_EXP_NAME") or hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:8]
    run = client.create_run(experiment, tags={**_tags(name, card), **tags}, run_name=f"{name}-{label}").info.run_id
    client.log_batch(run, params=_params(card))
    return run


def _params(card: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(key, str(value)) for key, value in _flat(card)]


def _tags(name: str, card: dict[str, Any]) -> dict[str, str]:
    """What tells runs apart; MLflow's own git tag is the same for every DVC experiment."""
    dvc = {
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME"),
        "dvc.baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV"),
        "dvc.stage": os.environ.get("DVC_STAGE"),
    }
    params = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    named = {"model": name, "arch": card["architecture"]["arch"], "noise": card["noise"]["name"]}
    return {k: v for k, v in dvc.items() if v} | named | {"data.sha256": card["data_sha256"], "params.sha256": params}


def _process() -> dict[str, str]:
    return {"process.host": socket.gethostname(), "process.id": str(os.getpid())}


def _alive(run: Any) -> bool:
    """Whether a run's process may still work on it; that of another machine may."""
    tags = run.data.tags
    if run.info.status != "RUNNING":
        return False
    if tags.get("process.host") != socket.gethostname():
        return True
    try:
        os.kill(int(tags["process.id"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return False
    except PermissionError:
        return True
    return int(tags["process.id"]) != os.getpid()


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _log_values(run: str, step: int, values: dict[str, float]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    named = {
        k.replace("val_", "val/") if k.startswith("val_") else f"train/{k}": v for k, v in values.items() if k != "step"
    }
    _client().log_batch(run, metrics=[Metric(k, v, now, step) for k, v in named.items() if math.isfinite(v)])


def _log_test(run: str, summary: dict[str, Any]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    scores = [(f"test/{c}/{k}", v) for c, row in summary.items() if isinstance(row, dict) for k, v in row.items()]
    _client().log_batch(run, metrics=[Metric(k, v, now, 0) for k, v in scores if v is not None and math.isfinite(v)])


def _log_picture(run: dict[str, str], key: str, pixels: np.ndarray) -> None:
    _client().log_image(run["id"], pixels, key=re.sub(r"[^A-Za-z0-9_./-]+", "_", key), step=0)


def _log_model(run: str, name: str) -> None:
    """Weights and card as artifacts, a network also as an MLflow model that takes any batch, height and width."""
    import mlflow
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    client, folder = _client(), paths.model(name)
    client.log_artifacts(run, str(folder), artifact_path="weights")
    model = model_store.load(folder)
    if model_store.parameters(model):
        channels = model_store.read_card(folder)["architecture"]["channels"]
        images = Schema([TensorSpec(np.dtype("float32"), (-1, channels, -1, -1))])
        with mlflow.start_run(run_id=run, log_system_metrics=False):
            mlflow.pytorch.log_model(
                model,
                name="model",
                signature=ModelSignature(inputs=images, outputs=images),
                input_example=np.zeros((2, channels, 50, 70), np.float32),
                pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", f"numpy=={np.__version__}"],
            )
    client.set_tag(run, "weights.sha256", files.sha256(folder))


def _steps(run: str) -> list[int]:
    return [metric.step for metric in _client().get_metric_history(run, "val/psnr")]


def _find(name: str) -> dict[str, str] | None:
    """The run of this experiment that trained models/<name>/."""
    experiment, weights = _experiment(), files.sha256(paths.model(name))
    found = _client().search_runs(
        [experiment], f"tags.`weights.sha256` = '{weights}'", order_by=["attributes.start_time DESC"]
    )
    own = [run for run in found if run.data.tags.get("dvc.exp_name") == os.environ.get("DVC_EXP_NAME")]
    return {"id": own[0].info.run_id} if own else None


def _from_files(name: str) -> dict[str, str]:
    """A new run for a training that is only known from its files."""
    card = model_store.read_card(paths.model(name))
    plan = {key: value for key, value in card.items() if key not in ("format", "parameters", "steps", "best")}
    return {"id": _create(_experiment(), name, plan, {"from_files": "true", **_process()}), "empty": "true"}


def _fill(run: str, name: str) -> None:
    """Log history and weights from the files."""
    for row in files.read_csv(paths.history(name)):
        values = {key: float(value) for key, value in row.items() if value}
        _log_values(run, int(values["step"]), values)
    _log_model(run, name)
    _client().set_terminated(run, "FINISHED")
