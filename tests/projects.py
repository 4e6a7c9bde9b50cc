"""Projects for tests: copies of this one that DVC runs, or that run stage by stage in this process."""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dvc.stage import Stage

ROOT = Path(__file__).parent.parent
DVC = Path(sys.executable).with_name("dvc")
TINY = ["recipe=smoke", "train.crop=32", "train.batch=2", "train.validate_every=5", "evaluate.samples=1"]
MIRROR = Path(os.environ.get("DENOISELAB_MIRROR", ""))
LONGEST_S = 1800  # of a command

mirrored = pytest.mark.skipif(
    not os.environ.get("DENOISELAB_MIRROR") or not MIRROR.is_dir(), reason="DENOISELAB_MIRROR is not set"
)


def environment() -> dict[str, str]:
    """Without what this test run itself got from DVC or MLflow; the interpreter's folder first, as `make` has it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_TRACKING"))}
    return clean | {"PATH": f"{DVC.parent}{os.pathsep}{clean['PATH']}", "CI": "1"}


def start(project: Path, *args: str) -> subprocess.Popen[str]:
    """A command in the project, in a process group of its own; stdout and stderr come together."""
    output = subprocess.PIPE
    return subprocess.Popen(
        args, cwd=project, env=environment(), text=True, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )


def call(project: Path, *args: str, rc: int = 0) -> str:
    """What a command says in the project; it must end with that exit code."""
    process = start(project, *args)
    output, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == rc, output
    return output


def dvc(project: Path, *args: str, rc: int = 0) -> str:
    return call(project, str(DVC), *args, rc=rc)


def setting(overrides: list[str]) -> list[str]:
    return [word for override in overrides for word in ("-S", override)]


def write_params(project: Path, *overrides: str) -> None:
    """params.yaml as `dvc exp run -S` would write it."""
    from dvc.utils.hydra import compose_and_dump

    conf = str(project / "conf")
    compose_and_dump(str(project / "params.yaml"), conf, None, "config", conf, list(overrides))


def compose(project: Path, *overrides: str) -> None:
    """Write params.yaml as `dvc exp run -S` would, and commit it."""
    write_params(project, *overrides)
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "Compose")


@cache
def empty_store() -> Path:
    """MLflow's database with its tables and nothing in it: to make one takes seconds, a copy none."""
    import mlflow

    path = _kept() / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def make_project(folder: Path, *, store: bool = True) -> Path:
    """A copy of this project's tracked files as a Git repository, with the parameters of TINY.

    What an experiment left in this project's folders does not come along. `store`: with an empty MLflow store, which
    the first stage that trains would make.
    """
    shutil.copytree(_template(), folder, dirs_exist_ok=True)
    if store:
        shutil.copyfile(empty_store(), folder / "mlflow.db")
    return folder


def reproduce(project: Path, *overrides: str, to: str = "") -> list[str]:
    """Run the stages of dvc.yaml in DVC's order but in this process; returns their names.

    For tests of stages rather than processes: DVC starts an interpreter for each stage, which takes seconds.
    `overrides`: of the parameters, which else stay. `to`: that stage and those that it needs, not all.
    """
    if overrides:
        write_params(project, *overrides)
    stages = _stages(project, to)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("DVC_ROOT", str(project))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for stage in stages:
            _run_here(stage, patch)
    return [stage.name for stage in stages]


def _stages(project: Path, to: str) -> list["Stage"]:
    """Every stage after those that it needs."""
    import networkx
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        graph = repo.index.graph  # from a stage to those that it needs
        if to:
            last = next(stage for stage in graph if stage.cmd and stage.name == to)
            graph = graph.subgraph({last} | networkx.descendants(graph, last))
        return [stage for stage in networkx.topological_sort(graph.reverse()) if stage.cmd]


def _run_here(stage: "Stage", patch: pytest.MonkeyPatch) -> None:
    """Delete its outputs, as DVC does, and call the stage's main; its outputs must be there afterwards."""
    outs = [Path(out.fs_path) for out in stage.outs]
    for out in outs:
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
    python, option, *words = stage.cmd.split()
    assert (python, option) == ("python", "-m"), stage.cmd
    patch.setattr(sys, "argv", words)
    importlib.import_module(words[0]).main()
    assert all(out.exists() for out in outs), (words, outs)


def runs(project: Path):
    """A client of the project's MLflow store, and its runs."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    return client, client.search_runs([client.get_experiment_by_name("denoiselab").experiment_id])


@cache
def _template() -> Path:
    """The project that `make_project` copies."""
    folder = _kept() / "project"
    listed = subprocess.run(["git", "ls-files", "-cz"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("reports/") and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    call(folder, "git", "init", "-q")
    call(folder, "git", "config", "user.name", "Test")
    call(folder, "git", "config", "user.email", "test@localhost")
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "Start")
    compose(folder, *TINY)
    return folder


@cache
def _kept() -> Path:
    """A folder that is there until this process ends."""
    _kept.folder = tempfile.TemporaryDirectory(prefix="denoiselab-tests-")
    return Path(_kept.folder.name)
