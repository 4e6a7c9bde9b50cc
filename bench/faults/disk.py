"""A disk that fills up in every stage, and a DVC cache that cannot be written.

Each trial has the toy project on a small file system of its own (tmpfs, so that it takes root on Linux), deletes a
stage's outputs, leaves less room than these took, and runs the stage. One line must name the error; once there is room
again, the next `dvc repro` must end with the bytes of an undisturbed run.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from bench.faults import _toy
from bench.faults._trial import Row, Settings, Trial

SIZE_MIB = 96
ROUNDS = 3  # of every stage
FEW = ("patchify",)  # of the short campaign: the others wait for a store on the same disk
FULL, READ_ONLY = "No space left on device", "Read-only file system"
ELSEWHERE = shutil.ignore_patterns("mlflow.db", "mlartifacts", ".ckpt", ".tracking", "__pycache__")
SHORT = 0.75  # of the room that a stage takes, at most
SLACK = 16 * 1024  # bytes that DVC's own files take before the stage starts


def trials(settings: Settings) -> Iterator[Trial]:
    if reason := _not_permitted(settings.folder / "disk"):
        for fault in ("disk full", "read-only cache"):
            yield Trial(fault, partial(Row, fault, "all", 0, message=reason))
        return
    for number in range(1 if settings.short else ROUNDS):
        for stage in FEW if settings.short else _toy.STAGES:
            yield Trial(f"full {number} {stage}", partial(_full, settings, number, stage))
    for stage in () if settings.short else _toy.STAGES:
        yield Trial(f"read-only cache {stage}", partial(_read_only, settings, stage))


def _full(settings: Settings, number: int, stage: str) -> Row:
    """What a stage says to a full disk, and what the next `dvc repro` leaves when there is room."""
    with _on_a_disk_of_its_own(settings, f"full-{number}-{stage}") as project:
        outs = [project.folder / path for path in _outs(project.folder, stage)]
        needed = sum(_size(path) for path in outs)
        for path in outs:
            _delete(path)
        room = SLACK + round(SHORT * needed * settings.random("disk", number, stage).random())
        ballast = project.folder / ".git" / "ballast"
        ballast.write_bytes(bytes(max(0, shutil.disk_usage(project.folder).free - room)))
        rc, said = _toy.dvc(project.folder, "repro", "-f", "-s", "--no-run-cache", stage)
        ballast.unlink()
        return _judged("disk full", stage, project, rc, said, FULL)


def _read_only(settings: Settings, stage: str) -> Row:
    """The same of a cache that DVC may read but not write."""
    with _on_a_disk_of_its_own(settings, f"read-only-{stage}") as project:
        cache = project.folder / ".dvc" / "cache"
        shutil.rmtree(cache / "runs", ignore_errors=True)
        shutil.rmtree(cache / "files", ignore_errors=True)  # what the stage leaves is to be written
        with _mounted("--bind", str(cache), str(cache)):
            _call("mount", "-o", "remount,bind,ro", str(cache))
            rc, said = _toy.dvc(project.folder, "repro", "-f", "-s", "--no-run-cache", stage)
        return _judged("read-only cache", stage, project, rc, said, READ_ONLY)


def _judged(fault: str, stage: str, project: _toy.Project, rc: int, said: str, named: str) -> Row:
    """A stage that ended all the same had room enough: no fault was tried."""
    lines = [line.strip() for line in said.splitlines()]
    telling = [line for line in lines if named in line and line.lower().startswith("error: ")]
    faults = [] if telling or not rc else [f"not named: {_toy.said(said)}"]
    faults += ["a traceback"] if "Traceback" in said else []
    again, output = _toy.dvc(project.folder, "repro", "--no-run-cache")
    wrong, left = project.wrong(), _toy.leftovers(project.folder)
    lost = _unlogged(project, stage)
    problems = [*faults, *([_toy.said(output)] if again else []), *wrong, *left, *lost]
    message = "; ".join(problems) or (telling[0][:200] if rc else "the stage ended well, so there was no fault")
    tried, well = int(bool(rc or problems)), not (faults or again or wrong)
    return Row(fault, stage, tried, int(tried and well), len(wrong), len(lost), len(left), message)


def _unlogged(project: _toy.Project, stage: str) -> list[str]:
    """What is lost of a training's run once it is evaluated: that logs what the full disk's store has not got."""
    if not stage.startswith("train"):
        return []
    _toy.dvc(project.folder, "repro", "-f", "-s", "--no-run-cache", stage.replace("train", "evaluate"))
    return _toy.lost_runs(_toy.store(project.folder), stage.replace("train", "evaluate"))


@contextmanager
def _on_a_disk_of_its_own(settings: Settings, name: str) -> Iterator[_toy.Project]:
    """The finished project without its MLflow store, in a small file system.

    Every trial's has its own path: MLflow keeps a database that it has opened by its path, unmounted or not.
    """
    finished = _toy.finished(settings.folder / "toy")
    disk = settings.folder / "disks" / name
    disk.mkdir(parents=True)
    with _mounted("-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(disk)):
        shutil.copytree(finished.folder, disk / "toy", ignore=ELSEWHERE)
        yield replace(finished, folder=disk / "toy")


@contextmanager
def _mounted(*options: str) -> Iterator[None]:
    """A file system at the folder that the options end with, while it lasts."""
    _call("mount", *options)
    try:
        yield
    finally:
        _call("umount", "--lazy", options[-1])  # what looked at MLflow's database keeps it open


def _call(*command: str) -> None:
    """RuntimeError with what the command said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def _not_permitted(folder: Path) -> str:
    """Why no file system can be mounted here, or nothing."""
    if sys.platform != "linux" or not shutil.which("mount"):
        return "tmpfs is mounted on Linux alone"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)):
            return ""
    except RuntimeError as error:
        return str(error)


def _outs(project: Path, stage: str) -> list[str]:
    stages = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return [out["path"] for out in stages[stage]["outs"]]


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _size(path: Path) -> int:
    """Bytes, in pages as tmpfs counts."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files)
