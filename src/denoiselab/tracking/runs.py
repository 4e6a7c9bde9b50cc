"""Runs of the one experiment: made, found, taken up again after a kill."""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import uuid4

from denoiselab import config
from denoiselab.models import model_store
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.processes import alive
from denoiselab.runtime.sanitize import one_line

EXPERIMENT = "denoiselab"
SQLITE = "sqlite:///"


def connect() -> Any:
    """The client of the one store: MLFLOW_TRACKING_URI, else SQLite in the main working tree."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    mlflow.set_tracking_uri(_known(uri()))
    return mlflow.MlflowClient()


def uri() -> str:
    """The address of the one store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{paths.shared_root() / 'mlflow.db'}"


def _known(address: str) -> str:
    """The address without user and password, which MLflow would print and log with it: it gets them by themselves."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return address
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    os.environ |= {"MLFLOW_TRACKING_USERNAME": unquote(user), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
    return urlunsplit(parts._replace(netloc=host))


def experiment_id() -> str:
    """The experiment's id. A fresh store is made by one process at a time, and a database whole or not at all.

    A database without a server keeps its artifacts in the main working tree: the place is fixed when the experiment is
    made, and that of a queued experiment's copy would soon be gone.
    """
    database = _database()
    with _alone() as folder:
        if database and not database.exists():
            _make(database, folder)
        client = connect()
        found = client.get_experiment_by_name(EXPERIMENT)
        if found:
            return found.experiment_id
        served = uri().startswith(("http://", "https://"))
        return client.create_experiment(EXPERIMENT, None if served else (paths.shared_root() / "mlartifacts").as_uri())


@contextmanager
def _alone() -> Iterator[Path]:
    """No other process of this project makes the store or takes up a killed run meanwhile; yields a folder to use."""
    from filelock import FileLock

    database = _database()
    folder = (database.parent if database else paths.shared_root()) / ".tracking"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "store.lock"):
        yield folder


def _database() -> Path | None:
    """The file of a store that is SQLite."""
    address = uri()
    return Path(address.removeprefix(SQLITE).partition("?")[0]) if address.startswith(SQLITE) else None


def _make(database: Path, folder: Path) -> None:
    """MLflow's tables are made one by one: what a kill or a full disk leaves of them is not taken for a store."""
    import mlflow

    for left in folder.glob("*.new*"):  # and its journal
        left.unlink()
    unfinished = folder / f"{uuid4().hex}.new"  # MLflow keeps what it has opened, by its name
    mlflow.MlflowClient(f"{SQLITE}{unfinished}").search_experiments(max_results=1)
    files.flush(unfinished)
    unfinished.replace(database)
    files.flush(database.parent)


def start(name: str, card: dict[str, Any], fingerprint: str, parent: str | None) -> str:
    """A new run for a training, or the one of the same training that was killed."""
    experiment, client = experiment_id(), connect()
    run = _resumed(experiment, fingerprint, parent)
    if run:
        client.log_batch(run, params=_params(card))
        return run
    nested = {"mlflow.parentRunId": parent} if parent else {}
    return create(experiment, name, card, {"training": fingerprint, **process(), **nested})


def search(model: str, label: str, settings: dict[str, Any]) -> str:
    """A new run for a search, or the one of the same search that was killed."""
    experiment, client = experiment_id(), connect()
    run = _resumed(experiment, label, None)
    if not run:
        tags = {"training": label, "model": model, "kind": "search", **process()}
        run = client.create_run(experiment, tags=tags, run_name=f"search-{model}-{label}").info.run_id
        client.log_batch(run, params=_params(settings))
    return run


def _resumed(experiment: str, fingerprint: str, parent: str | None) -> str | None:
    """The run of that fingerprint that was killed, running again."""
    client = connect()
    with _alone():
        dead = [run for run in _dead(experiment, parent) if run.data.tags.get("training") == fingerprint]
        if dead:
            client.update_run(dead[0].info.run_id, status="RUNNING")
            for key, value in process().items():
                client.set_tag(dead[0].info.run_id, key, value)
            return dead[0].info.run_id
    return None


def mark_killed_runs() -> None:
    """Set the status of every run to KILLED that is RUNNING though its process is gone. Creates no store."""
    database = _database()
    if database is None or database.exists():
        experiment = experiment_id()
        with _alone():
            _dead(experiment)


def _dead(experiment: str, parent: str | None = None) -> list[Any]:
    """The runs, but `parent`, that did not finish and whose process is gone, the latest first; none is left RUNNING."""
    client = connect()
    left = client.search_runs([experiment], "attributes.status != 'FINISHED'", order_by=["attributes.start_time DESC"])
    dead = [run for run in left if not _alive(run) and run.info.run_id != parent]
    for run in dead:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
    return dead


def create(experiment: str, name: str, card: dict[str, Any], tags: dict[str, str]) -> str:
    """A new run with the card's values and the name of the data as its params."""
    client, data = connect(), config.load().data.name
    label = os.environ.get("DVC_EXP_NAME") or hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:8]
    run = client.create_run(
        experiment, tags={**_tags(name, card), "data": data, **tags}, run_name=f"{name}-{label}"
    ).info.run_id
    client.log_batch(run, params=_params(card | {"data": {"name": data}}))
    return run


def find(folder: Path) -> dict[str, str] | None:
    """The run of this DVC experiment that trained the weights in `folder`."""
    own = [run for run in of_weights(folder) if run.data.tags.get("dvc.exp_name") == os.environ.get("DVC_EXP_NAME")]
    return {"id": own[0].info.run_id} if own else None


def of_weights(folder: Path) -> list[Any]:
    """The runs, of whatever DVC experiment, that trained the weights in `folder`, the latest first."""
    experiment, weights = experiment_id(), model_store.digest(folder)
    same = f"tags.`weights.sha256` = '{weights}'"
    return list(connect().search_runs([experiment], same, order_by=["attributes.start_time DESC"]))


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


def _params(card: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(key, str(value)) for key, value in _flat(card)]


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def process() -> dict[str, str]:
    """Tags that tell whether the process of a run is still there."""
    return {"process.host": socket.gethostname(), "process.id": str(os.getpid())}


def _alive(run: Any) -> bool:
    """Whether a run's process may still work on it."""
    tags = run.data.tags
    at_work = alive(tags.get("process.host"), tags.get("process.id"), socket.gethostname())
    return bool(run.info.status == "RUNNING" and at_work)


@contextmanager
def answering() -> Iterator[None]:
    """For commands: what the store says against a request, or that it does not answer, becomes a ValueError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise UserError(f"MLflow: {one_line(error, 500)}") from None
