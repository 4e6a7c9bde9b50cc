"""Runs of the project's MLflow experiment: create, find, and resume after a kill."""

import hashlib
import json
import logging
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import uuid4

from denoiselab import config
from denoiselab.models import model_store
from denoiselab.models.metadata import CLASSICAL
from denoiselab.runtime import files, git, paths
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.processes import alive
from denoiselab.runtime.sanitize import without_login
from denoiselab.tracking import store_errors

EXPERIMENT = "denoiselab"
DESCRIPTION = "mlflow.note.content"  # tag of a run and of a model
SQLITE = "sqlite:///"
REACH_S = 3  # seconds to connect to a server
LONGEST_DIGEST = 36  # characters of a data set's digest that MLflow keeps


def connect() -> Any:
    """A client of the tracking store: MLFLOW_TRACKING_URI, else SQLite in the main working tree."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # without a pause; the worker tries again, too
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it shows each error's whole traceback
    mlflow.set_tracking_uri(_known(uri()))
    return mlflow.MlflowClient()


def uri() -> str:
    """The address of the tracking store. A relative SQLite file is in the main working tree, as is the default."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{paths.shared_root() / given.removeprefix(SQLITE)}" if given.startswith(SQLITE) else given


def _known(address: str) -> str:
    """The address without user and password, which MLflow would print; they go into the environment instead."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise UserError(f"MLFLOW_TRACKING_URI: not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return address
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    os.environ |= {"MLFLOW_TRACKING_USERNAME": unquote(user), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
    return urlunsplit(parts._replace(netloc=host))


def experiment_id() -> str:
    """The experiment's id. One process at a time creates store and experiment.

    Without a server, artifacts are stored in the main working tree, as a queued experiment runs in a temporary copy of
    the project and MLflow sets their location when the experiment is created.
    """
    database = database_file()
    _reach(_known(uri()))
    with _alone() as folder:
        if database and not (database.exists() and database.stat().st_size):
            _make(database, folder)
        client = connect()
        found = client.get_experiment_by_name(EXPERIMENT)
        if found and found.lifecycle_stage == "deleted":
            own = f"MLFLOW_TRACKING_URI={uri()} " if database else ""
            command = f"{own}mlflow experiments restore -x {found.experiment_id}"
            raise UserError(f"the experiment {EXPERIMENT} was deleted; to restore it: {command}")
        if found:
            _follow(database, found.artifact_location)
            return found.experiment_id
        served = uri().startswith(("http://", "https://"))
        return client.create_experiment(EXPERIMENT, None if served else _artifacts())


def _reach(address: str) -> None:
    """Connect to a server within REACH_S: MLflow waits much longer for one that is not there. OSError if it is not."""
    from requests.utils import get_environ_proxies

    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.hostname and not get_environ_proxies(address):
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        socket.create_connection((parts.hostname, port), REACH_S).close()


def _artifacts() -> str:
    return (paths.shared_root() / "mlartifacts").as_uri()


def _follow(database: Path | None, location: str) -> None:
    """After the project was moved, correct the absolute locations of artifacts in its own SQLite store."""
    if database is None or database != paths.shared_root() / "mlflow.db" or location == _artifacts():
        return
    if not (paths.shared_root() / "mlartifacts").is_dir():  # a copy of the database alone
        return
    columns = {
        "experiments": "artifact_location",
        "runs": "artifact_uri",
        "logged_models": "artifact_location",
        "model_versions": "source",
    }
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in columns.items():
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ?",
                (_artifacts(), len(location) + 1, location, f"{location}/%"),
            )


@contextmanager
def _alone() -> Iterator[Path]:
    """Lock out other processes of this project that create the store or resume a run; yields a scratch folder."""
    from filelock import FileLock

    database = database_file()
    folder = (database.parent if database else paths.shared_root()) / ".tracking"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "store.lock"):
        yield folder


def database_file() -> Path | None:
    """The file of a SQLite store, else None."""
    address = uri()
    return Path(address.removeprefix(SQLITE).partition("?")[0]) if address.startswith(SQLITE) else None


def _make(database: Path, folder: Path) -> None:
    """Create the database under a temporary name: MLflow makes its tables one by one, and may be killed meanwhile."""
    import mlflow

    for left in folder.glob("*.new*"):  # and its journal
        left.unlink()
    unfinished = folder / f"{uuid4().hex}.new"  # a new name each time: MLflow caches open databases by name
    mlflow.MlflowClient(f"{SQLITE}{unfinished}").search_experiments(max_results=1)
    files.flush(unfinished)
    unfinished.replace(database)
    files.flush(database.parent)


def start(name: str, card: dict[str, Any], fingerprint: str, parent: str | None) -> str:
    """Create the run of a training run, or resume it if that was killed; returns its id, for describe_training."""
    experiment = experiment_id()
    nested = {"mlflow.parentRunId": parent} if parent else {}
    return create(
        experiment, name, card, {"training": fingerprint, **nested}, _resumed(experiment, fingerprint, parent)
    )


def search(model: str, label: str) -> str:
    """Create the run of a search, or resume it if that was killed; returns its id, for `describe`."""
    experiment = experiment_id()
    tags = {"training": label, "model": model, "kind": "search", **process()}
    return _opened(experiment, f"search-{model}-{label}", tags, _resumed(experiment, label, None))


def _resumed(experiment: str, fingerprint: str, parent: str | None) -> str | None:
    """The killed run with this fingerprint, set to RUNNING again, of this process; None if there is none."""
    with _alone():
        for run in _killed(experiment, parent):
            if run.data.tags.get("training") == fingerprint:
                return _opened(experiment, None, process(), str(run.info.run_id))
    return None


def _opened(experiment: str, label: str | None, tags: dict[str, str], run: str | None) -> str:
    """Create a run with this name and these tags, or, if `run` is given, set its status, name and tags; returns it."""
    client = connect()
    if run is None:
        return str(client.create_run(experiment, tags=tags, run_name=label).info.run_id)
    client.update_run(run, status="RUNNING", name=label)
    for key, value in tags.items():
        client.set_tag(run, key, value)
    return run


def mark_killed_runs() -> None:
    """Set RUNNING runs whose process is gone to KILLED. Creates no store."""
    database = database_file()
    if database is None or database.exists():
        experiment = experiment_id()
        with _alone():
            _killed(experiment)


def _killed(experiment: str, parent: str | None = None) -> list[Any]:
    """Unfinished runs whose process is gone, except `parent`, the latest first; sets RUNNING ones to KILLED."""
    client = connect()
    left = client.search_runs([experiment], "attributes.status != 'FINISHED'", order_by=["attributes.start_time DESC"])
    killed = [run for run in left if not _alive(run) and run.info.run_id != parent]
    for run in killed:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
    return killed


def create(experiment: str, name: str, card: dict[str, Any], tags: dict[str, str], run: str | None = None) -> str:
    """A new run of this DVC experiment and process, or `run` made theirs; returns its id, for `describe_training`.

    A killed training run may be resumed by a DVC experiment of another name.
    """
    label = os.environ.get("DVC_EXP_NAME") or hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:8]
    tags = {**_tags(name, card), "data": config.load().data.name, **process(), **tags}
    return _opened(experiment, f"{name}-{label}", tags, run)


def describe_training(run: str, card: dict[str, Any]) -> None:
    """Log the values of `card` (as in model.json), and the data set. May be repeated."""
    from mlflow.entities import Dataset, DatasetInput

    data = config.load().data.name
    describe(run, card | {"data": {"name": data}})
    source = json.dumps({"manifest": f"{paths.RAW}/manifest.csv"})
    dataset = Dataset(data, card["data_sha256"][:LONGEST_DIGEST], source_type="local", source=source)
    connect().log_inputs(run, [DatasetInput(dataset)])


def describe(run: str, settings: dict[str, Any]) -> None:
    """Log settings, nested, as the run's params. May be repeated."""
    connect().log_batch(run, params=_params(settings))


def find(folder: Path) -> dict[str, str] | None:
    """The run of this DVC experiment that trained the weights in `folder`."""
    own = [run for run in of_weights(folder) if run.data.tags.get("dvc.exp_name") == os.environ.get("DVC_EXP_NAME")]
    return {"id": own[0].info.run_id} if own else None


def of_weights(folder: Path) -> list[Any]:
    """All runs that trained the weights in `folder`, of any DVC experiment, the latest first."""
    experiment, weights = experiment_id(), model_store.digest(folder)
    same = f"tags.`weights.sha256` = '{weights}'"
    return list(connect().search_runs([experiment], same, order_by=["attributes.start_time DESC"]))


def _tags(name: str, card: dict[str, Any]) -> dict[str, str]:
    """Tags that tell runs apart: MLflow's own Git tag is the same for all experiments of one DVC baseline."""
    dvc = {
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME"),
        "dvc.baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV"),
        "dvc.stage": os.environ.get("DVC_STAGE"),
    }
    params = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    named = {"model": name, "arch": card["architecture"]["arch"], "noise": card["noise"]["name"]}
    commit = git.commit() or ""
    mlflow = {
        "mlflow.source.name": f"python -m pipeline.train {name}",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit.removesuffix("-dirty"),
        "mlflow.source.git.dirty": commit and str(commit.endswith("-dirty")).lower(),
        DESCRIPTION: _description(name, card),
    }
    known = {key: value for key, value in (dvc | mlflow).items() if value}
    return known | named | {"data.sha256": card["data_sha256"], "params.sha256": params}


def _description(name: str, card: dict[str, Any]) -> str:
    kind = card["architecture"].get("method", card["architecture"]["arch"])
    made = "calibrated" if _untrained(card) else "imported" if card.get("imported") else "trained"
    return f"`{name}` ({kind}), {made} on `{card['noise']['name']}`, seed {card['seed']}"


def _untrained(card: dict[str, Any]) -> bool:
    return card["architecture"]["arch"] in {"identity", *CLASSICAL}


def _params(card: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    unused = ("train", "augment", "patches") if "architecture" in card and _untrained(card) else ()
    return [Param(key, str(value)) for key, value in _flat(card) if key.partition(".")[0] not in unused]


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def process() -> dict[str, str]:
    """Tags that identify the process of a run."""
    return {"process.host": socket.gethostname(), "process.id": str(os.getpid())}


def _alive(run: Any) -> bool:
    """Whether a run's process may still be working."""
    tags = run.data.tags
    at_work = alive(tags.get("process.host"), tags.get("process.id"), socket.gethostname())
    return bool(run.info.status == "RUNNING" and at_work)


@contextmanager
def answering() -> Iterator[None]:
    """Convert errors and timeouts of the store into a UserError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(f"MLflow: {store_errors.reason(error, without_login(uri()))}") from None
