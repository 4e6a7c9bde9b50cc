"""Reads the parameters and results of DVC experiments from Git, without checking them out."""

import hashlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML, YAMLError

from denoiselab.comparison import aggregate, verdicts
from denoiselab.comparison.verdicts import Training
from denoiselab.noise.describe import in_words
from denoiselab.report.leaderboard.settings import effective
from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

WORKSPACE = "workspace"
TEXTS = dict.fromkeys((*aggregate.TEXTS, "set"), str)
NEEDED = {"n_groups", "n_identical", "psnr_gain", "parameters"}, {"group", "seed"}  # not written by older versions
REF = re.compile(r"(?P<rev>\w+) refs/exps/(?P<base>[0-9a-f]{2}/[0-9a-f]{38})/(?P<name>.+)")

Read = Callable[[str], bytes]  # reads a file of an experiment by its path in the project; OSError if it is missing


@dataclass(frozen=True)
class Experiment:
    """An experiment with a comparison made with its parameters."""

    name: str
    baseline: str  # commit it is based on, 7 digits; empty: the workspace
    params: dict[str, Any]  # params.yaml
    data_md5: str  # of data/raw
    specs: dict[str, str]  # the noise of each test condition, as JSON
    table: pd.DataFrame  # comparison.csv
    images: pd.DataFrame  # per-image rows of its restoration models
    trainings: dict[str, Training]  # of its restoration networks


@dataclass(frozen=True)
class Unfinished:
    """An experiment without results, and the reason."""

    name: str
    why: str


def gather() -> tuple[list[Experiment], list[Unfinished]]:
    """The workspace, if it has a comparison, and all experiments of the repository in the working directory.

    UserError outside a DVC project with a Git repository.
    """
    found: list[Experiment] = []
    unreadable: list[Unfinished] = []
    queued = _queued()
    for name, baseline, read in _all():
        try:
            found.append(experiment(name, baseline, read))
        except (ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:  # written by an older version
            unreadable.append(
                Unfinished(name, f"{error}" if isinstance(error, UserError) else f"unreadable: {error!r}")
            )
    return found, unreadable + queued


def _queued() -> list[Unfinished]:
    """The tasks in DVC's queue that have not succeeded."""
    head, *lines = _run(sys.executable, "-m", "dvc", "queue", "status").decode().splitlines()
    name, created, status = (head.find(column) for column in ("Name", "Created", "Status"))
    rows = [(line[name:created].strip() or line[:7], line[status:].strip()) for line in lines[:-2]]  # then the workers
    return [Unfinished(task, f"{state} in the queue") for task, state in rows if state != "Success"]


def _all() -> Iterator[tuple[str, str, Read]]:
    """(name, baseline, reader) of the workspace and all experiments; ambiguous names get their baseline appended."""
    if paths.COMPARISON.exists():
        yield WORKSPACE, "", lambda path: Path(path).read_bytes()
    refs = _run("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").decode().splitlines()
    listed = [(m["name"], m["base"].replace("/", ""), m["rev"]) for m in map(REF.fullmatch, refs) if m]
    counts = Counter(name for name, _, _ in listed)
    for name, base, rev in sorted(listed):
        yield (name if counts[name] == 1 else f"{name}@{base[:7]}"), base[:7], partial(_show, rev)


def _show(rev: str, path: str) -> bytes:
    """A file of a commit, by its path relative to the working directory, which may be a subfolder of the repository."""
    try:
        return _run("git", "show", f"{rev}:./{path}")
    except UserError:
        raise FileNotFoundError(path) from None


def _run(*command: str) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        reason = one_line(error.stderr.decode(errors="replace"))
        raise UserError(f"{Path.cwd()}: its experiments cannot be read: {reason}") from None


def experiment(name: str, baseline: str, read: Read) -> Experiment:
    """Read an experiment. UserError if it has no comparison made with its parameters."""
    params = _tree(read, "params.yaml")
    stages = _tree(read, "dvc.lock").get("stages", {})
    outs = _check(params, stages)
    table = _rows(read, paths.COMPARISON, outs)
    images = [_rows(read, paths.evaluation(model) / "per_image.csv", outs) for model in dict.fromkeys(table.model)]
    specs = params["noise"]["test"]
    for condition in set(table.condition):
        in_words(specs[condition])  # checks it: the page describes the noise
    histories = {model: _rows(read, paths.history(model), outs) for model in dict.fromkeys(table.model)}
    trainings = {model: verdicts.training(own) for model, own in histories.items() if "loss" in own}
    texts = {condition: json.dumps(spec, sort_keys=True) for condition, spec in specs.items()}
    data, rows = outs[paths.RAW.as_posix()], pd.concat(images, ignore_index=True)
    if not (NEEDED[0] <= {*table} and NEEDED[1] <= {*rows}):
        raise UserError("its tables were written by an older version")
    for model in dict.fromkeys(table.model):
        effective(params, model)  # checks it: KeyError if an older version wrote params.yaml
    return Experiment(name, baseline, params, data, texts, table, rows, trainings)


def _tree(read: Read, path: str) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = YAML(typ="safe").load(read(path).decode()) or {}
    except OSError:
        raise UserError(f"{path} is missing") from None
    return tree


def _check(params: dict[str, Any], stages: dict[str, Any]) -> dict[str, str]:
    """The md5 of all stages' outputs. UserError names a stage not run with the current parameters and inputs."""
    of_model = [f"{stage}@{model}" for stage in ("train", "evaluate") for model in params["models"]]
    names = ["fetch", "patchify", "add-noise", *of_model, "compare"]
    absent = next((name for name in names if name not in stages), None)
    if absent:
        raise UserError(f"stage {absent} was not run")
    outs = {out["path"]: out["md5"] for name in names for out in stages[name].get("outs", [])}
    for name in names:
        for key, value in stages[name].get("params", {}).get("params.yaml", {}).items():
            if _value(params, key) != value:
                raise UserError(f"stage {name} was not run with the current {key}")
        for dep in stages[name].get("deps", []):
            if outs.get(dep["path"], dep["md5"]) != dep["md5"]:
                raise UserError(f"stage {name} was not run with the current {dep['path']}")
    return outs


def _value(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _rows(read: Read, path: Path, outs: dict[str, str]) -> pd.DataFrame:
    """A table that a stage wrote. UserError if it differs from dvc.lock."""
    name = path.as_posix()
    try:
        content = read(name)
    except OSError:
        raise UserError(f"{name} is missing") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != outs.get(name):
        raise UserError(f"{name} differs from dvc.lock")
    return pd.read_csv(io.BytesIO(content), dtype=TEXTS, keep_default_na=False, na_values=["", "nan"])
