"""Reading DVC experiments from Git: what each of them set and found. Nothing is checked out."""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError
from dvc.utils.serialize import parse_yaml

from denoiselab.comparison import aggregate
from denoiselab.noise.describe import in_words
from denoiselab.report.leaderboard.settings import effective
from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError

WORKSPACE = "workspace"
TEXTS = dict.fromkeys((*aggregate.TEXTS, "set"), str)
NEEDED = (
    {"n_groups", "n_identical", "psnr_gain", "parameters"},
    {"group", "seed"},
)  # columns that older code did not write

Read = Callable[[str], bytes]  # a file of an experiment by its path in the project; OSError where there is none


@dataclass(frozen=True)
class Experiment:
    """An experiment with a comparison that is of its parameters."""

    name: str
    baseline: str  # commit that it started from, 7 digits; empty: the workspace
    params: dict[str, Any]  # params.yaml
    data_md5: str  # of data/raw
    specs: dict[str, str]  # the noise of each test condition, as JSON
    table: pd.DataFrame  # comparison.csv
    images: pd.DataFrame  # the per-image rows of its models that restore


@dataclass(frozen=True)
class Unfinished:
    """An experiment without results, and why."""

    name: str
    why: str


def gather() -> tuple[list[Experiment], list[Unfinished]]:
    """The workspace, where it has a comparison, and every experiment of the repository in the working directory.

    ValueError outside a DVC project with a Git repository.
    """
    found: list[Experiment] = []
    left: list[Unfinished] = []
    try:
        with Repo(".") as repo:
            for name, baseline, read in _all(repo):
                try:
                    found.append(experiment(name, baseline, read))
                except (
                    ValueError,
                    KeyError,
                    TypeError,
                    AttributeError,
                    DvcException,
                ) as error:  # whatever older code has left there
                    left.append(Unfinished(name, f"{error}" if type(error) is ValueError else f"unreadable: {error!r}"))
            done = {"Success"}
            tasks = [task for task in repo.experiments.celery_queue.status() if task["status"] not in done]
    except (DvcException, SCMError) as error:
        raise UserError(f"{Path.cwd()}: its experiments cannot be read: {error}") from None
    return found, left + [Unfinished(t["name"] or t["rev"][:7], f"{t['status']} in the queue") for t in tasks]


def _all(repo: Any) -> Iterator[tuple[str, str, Read]]:
    """(name, baseline, reader) of the workspace and every experiment; names that several have get their baseline."""
    if paths.COMPARISON.exists():
        yield WORKSPACE, "", lambda path: Path(path).read_bytes()
    listed = [(name, base, rev) for base, own in repo.experiments.ls(all_commits=True).items() for name, rev in own]
    counts = Counter(name for name, _, _ in listed)
    for name, base, rev in sorted(listed):
        yield (name if counts[name] == 1 else f"{name}@{base[:7]}"), base[:7], _at(repo, rev)


def _at(repo: Any, rev: str) -> Read:
    """Reads from a commit; the project may be a subfolder of the Git repository."""
    tree, prefix = repo.scm.get_fs(rev), os.path.relpath(repo.root_dir, repo.scm.root_dir)
    return lambda path: tree.cat_file(os.path.normpath(os.path.join(prefix, path)))  # noqa: PTH118


def experiment(name: str, baseline: str, read: Read) -> Experiment:
    """Read an experiment. ValueError says why it has no comparison of its own parameters."""
    params = _tree(read, "params.yaml")
    stages = _tree(read, "dvc.lock").get("stages", {})
    outs = _check(params, stages)
    table = _rows(read, paths.COMPARISON, outs)
    images = [_rows(read, paths.evaluation(model) / "per_image.csv", outs) for model in dict.fromkeys(table.model)]
    specs = params["noise"]["test"]
    for condition in set(table.condition):
        in_words(specs[condition])  # the page says it
    texts = {condition: json.dumps(spec, sort_keys=True) for condition, spec in specs.items()}
    data, rows = outs[paths.RAW.as_posix()], pd.concat(images, ignore_index=True)
    if not (NEEDED[0] <= {*table} and NEEDED[1] <= {*rows}):
        raise UserError("older code made its tables")
    for model in dict.fromkeys(table.model):
        effective(params, model)  # the page shows it; KeyError where older code wrote params.yaml
    return Experiment(name, baseline, params, data, texts, table, rows)


def _tree(read: Read, path: str) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = parse_yaml(read(path).decode(), path)
    except OSError:
        raise UserError(f"it has no {path}") from None
    return tree


def _check(params: dict[str, Any], stages: dict[str, Any]) -> dict[str, str]:
    """The md5 of every stage's outputs. ValueError names a stage that did not run with these parameters and inputs."""
    of_model = [f"{stage}@{model}" for stage in ("train", "evaluate") for model in params["models"]]
    names = ["fetch", "patchify", "add-noise", *of_model, "compare"]
    absent = next((name for name in names if name not in stages), None)
    if absent:
        raise UserError(f"stage {absent} has not run")
    outs = {out["path"]: out["md5"] for name in names for out in stages[name].get("outs", [])}
    for name in names:
        for key, value in stages[name].get("params", {}).get("params.yaml", {}).items():
            if _value(params, key) != value:
                raise UserError(f"stage {name} has not run with these {key}")
        for dep in stages[name].get("deps", []):
            if outs.get(dep["path"], dep["md5"]) != dep["md5"]:
                raise UserError(f"stage {name} has not run with these {dep['path']}")
    return outs


def _value(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _rows(read: Read, path: Path, outs: dict[str, str]) -> pd.DataFrame:
    """A table that a stage wrote. ValueError where it is not that stage's."""
    name = path.as_posix()
    try:
        content = read(name)
    except OSError:
        raise UserError(f"it has no {name}") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != outs.get(name):
        raise UserError(f"{name} is not what dvc.lock says")
    return pd.read_csv(
        io.BytesIO(content), dtype=TEXTS, keep_default_na=False, na_values=["", "nan"], float_precision="round_trip"
    )
