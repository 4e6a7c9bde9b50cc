"""MLflow's model registry: one registered model, whose alias `champion` names the version in production."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from denoiselab.comparison import promotion
from denoiselab.comparison.promotion import Verdict
from denoiselab.config import Params
from denoiselab.models import model_store
from denoiselab.runtime import git, paths
from denoiselab.runtime.errors import UserError
from denoiselab.tracking import content, packaging, runs

MODEL, ALIAS = "denoiselab", "champion"
PACKED = "service"  # artifact of a run: the model that a version serves
REPLACED = "champion.replaced"  # tag: the previous version
HISTORY = "champion.history"  # tag of the registered model: all champions in order, the current one last
LONGEST = 100  # champions in the history
PROMOTED, FORCED = "promoted", "forced"  # tags: how a version became the champion


@dataclass(frozen=True)
class Outcome:
    """Whether the champion changed, and the message for the user."""

    moved: bool
    said: str


def promote(params: Params, name: str, service: Path, *, force: bool = False) -> Outcome:
    """Register the network in models/<name>/ and make it the champion if it is better than the current one.

    Without a champion it must be better than the noisy input. `force` promotes in any case; a tag records it.
    `service`: the Python file that serves the version. UserError if there is nothing to register, or the store
    does not answer.
    """
    folder = paths.model(name)
    card = _card(folder, name)
    with runs.answering(), _alone():
        run = _evaluated(folder, name)
        rows = _rows(run)
        version = _register(run, folder, service, _tags(run, card, rows, params))
        while True:
            champion = _champion()
            if champion == version:
                return Outcome(True, f"{_named(version)} is already the champion")
            verdict = _judge(rows, champion, params)
            if not (verdict.better or force):
                return Outcome(False, f"{_named(version)} does not become the champion: {verdict.said}")
            if _move(version, champion, verdict):
                how = "" if verdict.better else " by force"
                return Outcome(True, f"{_named(version)} is the champion{how}: {verdict.said}")


def rollback() -> Outcome:
    """Undo the last promotion: the previous champion becomes the champion again.

    Deleted versions are skipped. UserError if there is no previous one.
    """
    with runs.answering(), _alone():
        champion = _champion()
        if champion is None:
            raise UserError(f"{MODEL} has no {ALIAS} yet")
        history = _history(champion)[:-1]
        if not history:
            raise UserError(f"{_named(champion)} was the first {ALIAS}")
        _remember(history)  # first: after a kill in between, the next rollback does the same
        _point(history)
    return Outcome(True, f"{_named(history[-1])} is the champion again, instead of version {champion}")


@contextmanager
def _alone() -> Iterator[None]:
    """Serialise promotions that share a main working tree."""
    from filelock import FileLock

    lock = paths.shared_root() / ".tracking" / "promotion.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        yield


def _card(folder: Path, name: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such model; run `dvc repro evaluate@{name}`")
    card = model_store.read_card(folder)
    if card["task"] != "restore" or not card["parameters"]:
        kind = "a classifier" if card["task"] != "restore" else "a method without weights"
        raise UserError(f"{folder}: is {kind}; only networks that restore images can be promoted")
    return card


def _evaluated(folder: Path, name: str) -> Any:
    """The latest run of these weights that has test scores."""
    for run in runs.of_weights(folder):
        if any(file.path == content.TEST_ROWS for file in runs.connect().list_artifacts(run.info.run_id, "test")):
            return run
    raise UserError(
        f"{folder}: MLflow has no evaluated run of these weights; run `dvc repro -s -f evaluate@{name}`, which logs one"
    )


def _rows(run: Any) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        file = runs.connect().download_artifacts(run.info.run_id, content.TEST_ROWS, folder)
        return promotion.parse(Path(file).read_text(encoding="utf-8"))


def _tags(run: Any, card: dict[str, Any], rows: pd.DataFrame, params: Params) -> dict[str, str]:
    psnr = promotion.mean(rows, params)
    return {
        "model": card["name"],
        "data": run.data.tags.get("data", ""),
        "data.sha256": card["data_sha256"],
        "noise": card["noise"]["name"],
        "protocol": " ".join(sorted({*rows.protocol})),
        "protocol.sha256": " ".join(sorted({*rows.protocol_sha256})),
        "psnr": f"{psnr.mean:.2f} [{psnr.low:.2f}, {psnr.high:.2f}]",
        "test.images": str(rows.image.nunique()),
        "git.commit": git.commit() or "none",
    }


def _register(run: Any, folder: Path, service: Path, tags: dict[str, str]) -> str:
    """The version of these weights, created if there is none."""
    client, weights = runs.connect(), model_store.digest(folder)
    _make(client)
    for version in client.search_model_versions(f"name = '{MODEL}'"):
        if version.tags.get("weights.sha256") == weights:
            for key, value in tags.items():
                client.set_model_version_tag(MODEL, version.version, key, value)
            return str(version.version)
    with tempfile.TemporaryDirectory() as temporary:
        packaging.pack(folder, Path(temporary) / PACKED, service)
        client.log_artifacts(run.info.run_id, str(Path(temporary) / PACKED), PACKED)
    source = f"{run.info.artifact_uri}/{PACKED}"
    made = client.create_model_version(MODEL, source, run.info.run_id, tags={**tags, "weights.sha256": weights})
    return str(made.version)


def _make(client: Any) -> None:
    """Create the registered model where it is missing; another machine may do so at the same time."""
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(f"name = '{MODEL}'"):
        return
    try:
        client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _champion() -> str | None:
    """The current champion's version."""
    version = runs.connect().get_registered_model(MODEL).aliases.get(ALIAS)
    return None if version is None else str(version)


def _judge(rows: pd.DataFrame, champion: str | None, params: Params) -> Verdict:
    if champion is None:
        return promotion.judge(rows, None, "the noisy input", params)
    client = runs.connect()
    run = client.get_run(client.get_model_version(MODEL, champion).run_id)
    return promotion.judge(rows, _rows(run), f"the champion, version {champion},", params)


def _move(version: str, champion: str | None, verdict: Verdict) -> bool:
    """Make a version the champion. False if the champion is no longer the one it was compared with.

    MLflow has no compare-and-set: if another machine promotes a version after this check, that is not detected.
    """
    client, history = runs.connect(), _history(champion)
    if _champion() != champion:
        return False
    how, other = (PROMOTED, FORCED) if verdict.better else (FORCED, PROMOTED)
    tags = client.get_model_version(MODEL, version).tags
    for old in {other, REPLACED} & {*tags}:  # of an earlier promotion
        client.delete_model_version_tag(MODEL, version, old)
    client.set_model_version_tag(MODEL, version, how, verdict.said)
    if champion is not None:
        client.set_model_version_tag(MODEL, version, REPLACED, champion)
    _point([*history, version])
    return True


def _history(champion: str | None) -> list[str]:
    """All champions in order, the current one last."""
    client = runs.connect()
    kept = client.get_registered_model(MODEL).tags.get(HISTORY, "").split()
    if champion is not None and kept[-1:] != [champion]:  # the alias was moved by hand, or there was no history yet
        before = client.get_model_version(MODEL, champion).tags.get(REPLACED)
        kept = [*(kept or ([before] if before else [])), champion]
    there = {str(version.version) for version in client.search_model_versions(f"name = '{MODEL}'")}
    return [version for version, _ in groupby(kept) if version in there]


def _point(history: list[str]) -> None:
    """Make the last version the champion. The alias is set first: after a kill, `_history` corrects the tag."""
    runs.connect().set_registered_model_alias(MODEL, ALIAS, history[-1])
    _remember(history)


def _remember(history: list[str]) -> None:
    runs.connect().set_registered_model_tag(MODEL, HISTORY, " ".join(history[-LONGEST:]))


def _named(version: str) -> str:
    return f"{MODEL} version {version}"
