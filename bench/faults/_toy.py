"""A toy project: every stage of the pipeline on a few small photos, and checks of the state after `dvc repro`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bench._project import compose, copy, environment, photographs
from denoiselab import tracking
from denoiselab.imaging import dataset_images
from denoiselab.runtime import files

HOOK = str(Path(__file__).with_name("_hook"))
DVC = str(Path(sys.executable).with_name("dvc"))
STAGES = ("fetch", "patchify", "add-noise", "train@unet", "evaluate@unet", "compare")
FOLDERS = ("data", "models", "reports")  # of the outputs
STORE = shutil.ignore_patterns("mlflow.db", "mlartifacts", ".ckpt", ".tracking", "__pycache__")  # and checkpoints
TIMED = ("reports/cost/", "reports/cost.md", "reports/tradeoffs/", "reports/report.html")  # contain measured times
TIMEOUT_S = 900  # of a whole `dvc repro`, on a busy machine
STEPS, VALIDATE_EVERY = 40, 5


@dataclass(frozen=True)
class Project:
    """A toy project after a complete `dvc repro`, with the digests of its outputs by path."""

    folder: Path
    outputs: dict[str, str]
    seconds: dict[str, float]  # per stage
    changes: dict[str, int]  # file operations per stage

    def wrong(self) -> list[str]:
        """Outputs that are missing, unexpected, or different apart from measured times."""
        now = outputs(self.folder)
        return sorted(path for path in {*now, *self.outputs} if now.get(path) != self.outputs.get(path))

    def forget(self, stage: str) -> None:
        """Remove a stage from dvc.lock, as before its first run."""
        path = self.folder / "dvc.lock"
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        tree["stages"].pop(stage, None)
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


@lru_cache(maxsize=1)
def finished(folder: Path) -> Project:
    """Create the project in `folder` and run it, once. RuntimeError if `dvc repro` fails."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a failed call
    project, counted = make(folder), folder / ".git" / "counted"
    counted.mkdir()
    rc, said = dvc(project, "repro", PYTHONPATH=HOOK, FAULT_COUNT=str(counted))
    if rc:
        raise RuntimeError(f"dvc repro: exit code {rc}\n{said}")
    measured = {path.name: path.read_text(encoding="utf-8").split() for path in counted.iterdir()}
    seconds = {stage: float(words[0]) for stage, words in measured.items()}
    return Project(project, outputs(project), seconds, {stage: int(words[1]) for stage, words in measured.items()})


def make(folder: Path, *overrides: str) -> Path:
    """Create the project in `folder`: a Git repository with one commit, before its first `dvc repro`."""
    folder.mkdir(parents=True)
    copy(folder)
    (folder / "photographs").mkdir()
    for n, pixels in enumerate(photographs(8, (96, 96))):
        dataset_images.write_png(folder / "photographs" / f"{n}.png", pixels)
    tree = _small(compose("recipe=smoke", "model=unet", "data=folder", "data.path=photographs", *overrides))
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    identity = [("config", "user.name", "Toy"), ("config", "user.email", "toy@localhost")]
    for command in (*identity, ("add", "-A"), ("commit", "-qm", "Start")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def _small(tree: dict[str, Any]) -> dict[str, Any]:
    tree["data"] |= {"split": {"train": 0.5, "val": 0.25, "test": 0.25}, "allow_leak": True}
    tree["patches"] |= {"size": 48, "stride": 48, "val_size": 48, "scales": [1.0]}
    tree["train"] |= {"crop": 32, "batch": 2, "steps": STEPS, "validate_every": VALIDATE_EVERY, "val_patches": 2}
    tree["evaluate"] |= {"samples": 1, "resamples": 100}
    tree["evaluate"]["curve"] |= {"levels": [20, 30], "images": 1, "crop": 48}
    tree["models"]["unet"] |= {"widths": [8, 16]}
    return tree


def start(project: Path, *args: str, **settings: str) -> "subprocess.Popen[str]":
    """Start a command in the project, in a new process group, with stderr merged into stdout."""
    path = os.pathsep.join(filter(None, [settings.pop("PYTHONPATH", ""), str(project), str(project / "src")]))
    env, output = environment(**settings) | {"PYTHONPATH": path}, subprocess.PIPE
    return subprocess.Popen(
        args, cwd=project, env=env, text=True, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )


def dvc(project: Path, *args: str, **settings: str) -> tuple[int, str]:
    """Run a DVC command. Returns its exit code and output."""
    process = start(project, DVC, *args, **settings)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, output


def stop(group: int, chosen: signal.Signals) -> None:
    """Send a signal to a process group if it still exists."""
    with suppress(ProcessLookupError):
        os.killpg(group, chosen)


def outputs(project: Path) -> dict[str, str]:
    """Digest of every output file by path; for files with measured times, of the parts that do not change."""
    found = (path for folder in FOLDERS for path in sorted((project / folder).rglob("*")) if path.is_file())
    return {path.relative_to(project).as_posix(): _digest(path, project) for path in found}


def leftovers(project: Path) -> list[str]:
    """Temporary files in all folders that stages write to."""
    folders = [*FOLDERS, ".ckpt", ".downloads", ".tracking", "mlartifacts"]
    found = (path for folder in folders for path in (project / folder).rglob("*.tmp"))
    return sorted(path.relative_to(project).as_posix() for path in found)


def _digest(path: Path, project: Path) -> str:
    if not path.relative_to(project).as_posix().startswith(TIMED):
        return files.sha256(path)
    match path.suffix:
        case ".json":
            return " ".join(json.loads(path.read_text(encoding="utf-8")))
        case ".png":
            return str(dataset_images.read(path, 3).shape)
    text = path.read_text(encoding="utf-8")
    return " ".join(re.findall(r"^#.*$|<h\d.*?</h\d>|</html>", text, re.MULTILINE))  # headings only, without numbers


def error_line(output: str) -> str:
    """The line of an output that starts with "error:", or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line for line in lines if line.lower().startswith("error: ")]
    return (named or lines or [""])[0 if named else -1][:300]


def store(root: Path) -> str:
    """URI of the MLflow store that stages create in `root`, their DVC_ROOT."""
    return f"sqlite:///{root / 'mlflow.db'}"


def lost_runs(address: str, stage: str) -> list[str]:
    """Faults in a store's runs once killed ones are marked: runs left RUNNING, or no complete run of the model.

    The latest run of the model must have every validation once, weights and, for stage evaluate, test scores.
    """
    import mlflow

    try:
        mark_killed_runs(address)
        client = mlflow.MlflowClient(address)
    except Exception as error:  # noqa: BLE001  (a damaged database raises many kinds of errors)
        return [f"the store cannot be opened: {error}"]
    experiment = client.get_experiment_by_name("denoiselab")
    if not experiment:
        return ["no runs"]
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    wrong = [f"run {run.info.run_name} is left RUNNING" for run in runs if run.info.status == "RUNNING"]
    _, _, model = stage.partition("@")
    if model:
        whole = [run for run in runs if run.data.tags.get("model") == model and run.info.status == "FINISHED"][:1]
        wrong += (
            [reason for run in whole for reason in lacking(client, run, stage.startswith("evaluate"))]
            if whole
            else [f"{model} has no run"]
        )
    return wrong


def mark_killed_runs(address: str) -> None:
    """As the next stage and `make ui` do."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = address
    try:
        tracking.runs.mark_killed_runs()
    finally:
        if before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before


def lacking(client: Any, run: Any, evaluated: bool) -> list[str]:
    """What is missing in a run of the U-Net."""
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val/psnr")]
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    reasons = {
        f"validated at steps {steps}": steps != list(range(VALIDATE_EVERY, STEPS + 1, VALIDATE_EVERY)),
        "no weights": "weights" not in artifacts,
        "no test scores": evaluated and "test/sigma25/psnr" not in run.data.metrics,
    }
    return [f"run {run.info.run_name}: {reason}" for reason, applies in reasons.items() if applies]
