"""A full disk in every stage, and a read-only DVC cache.

Each trial puts the toy project on its own small tmpfs (which needs root on Linux), deletes a stage's outputs, leaves
less free space than they need, and runs the stage. One line must name the error. Once space is free again, the next
`dvc repro` must give the bytes of an undisturbed run.
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
ROUNDS = 3  # trials per stage
FEW = ("patchify",)  # in the short campaign: other stages wait for a store on the same disk
FULL, READ_ONLY = "No space left on device", "Read-only file system"
SHARE = 0.75  # largest free space, as a share of the size of the stage's outputs
SLACK = 16 * 1024  # bytes that DVC writes before the stage starts


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
    """Run a stage on a nearly full disk, free the space, and run `dvc repro`."""
    with _on_a_disk_of_its_own(settings, f"full-{number}-{stage}") as project:
        outs = [project.folder / path for path in _outs(project.folder, stage)]
        needed = sum(_size(path) for path in outs)
        for path in outs:
            _delete(path)
        free = SLACK + round(SHARE * needed * settings.random("disk", number, stage).random())
        ballast = project.folder / ".git" / "ballast"
        ballast.write_bytes(bytes(max(0, shutil.disk_usage(project.folder).free - free)))
        rc, output = _toy.dvc(project.folder, "repro", "-f", "-s", "--no-run-cache", stage)
        ballast.unlink()
        return _judged("disk full", stage, project, rc, output, FULL)


def _read_only(settings: Settings, stage: str) -> Row:
    """Run a stage with a read-only DVC cache, then `dvc repro` with a writable one."""
    with _on_a_disk_of_its_own(settings, f"read-only-{stage}") as project:
        cache = project.folder / ".dvc" / "cache"
        shutil.rmtree(cache / "runs", ignore_errors=True)
        shutil.rmtree(cache / "files", ignore_errors=True)  # so that the outputs of the stage must be written
        with _mounted("--bind", str(cache), str(cache)):
            _call("mount", "-o", "remount,bind,ro", str(cache))
            rc, output = _toy.dvc(project.folder, "repro", "-f", "-s", "--no-run-cache", stage)
        return _judged("read-only cache", stage, project, rc, output, READ_ONLY)


def _judged(fault: str, stage: str, project: _toy.Project, rc: int, output: str, expected: str) -> Row:
    """Judge a trial. If the stage succeeded, it had enough space, and the trial does not count."""
    lines = [line.strip() for line in output.splitlines()]
    errors = [line for line in lines if expected in line and line.lower().startswith("error: ")]
    faults = [] if errors or not rc else [f"error not named: {_toy.error_line(output)}"]
    faults += ["traceback"] if "Traceback" in output else []
    again, output = _toy.dvc(project.folder, "repro", "--no-run-cache")
    wrong, left = project.wrong(), _toy.leftovers(project.folder)
    lost = _unlogged(project, stage)
    problems = [*faults, *([_toy.error_line(output)] if again else []), *wrong, *left, *lost]
    message = "; ".join(problems) or (errors[0][:200] if rc else "the stage succeeded, so there was no fault")
    tried, good = int(bool(rc or problems)), not (faults or again or wrong)
    return Row(fault, stage, tried, int(tried and good), len(wrong), len(lost), len(left), message)


def _unlogged(project: _toy.Project, stage: str) -> list[str]:
    """Faults in the MLflow run of a training stage after evaluate, which logs what train could not log."""
    if not stage.startswith("train"):
        return []
    _toy.dvc(project.folder, "repro", "-f", "-s", "--no-run-cache", stage.replace("train", "evaluate"))
    return _toy.lost_runs(_toy.store(project.folder), stage.replace("train", "evaluate"))


@contextmanager
def _on_a_disk_of_its_own(settings: Settings, name: str) -> Iterator[_toy.Project]:
    """The finished project without its MLflow store, on a small file system.

    Every trial uses a different path, because MLflow caches database connections by path, even after unmounting.
    """
    finished = _toy.finished(settings.folder / "toy")
    disk = settings.folder / "disks" / name
    disk.mkdir(parents=True)
    with _mounted("-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(disk)):
        shutil.copytree(finished.folder, disk / "toy", ignore=_toy.STORE)
        yield replace(finished, folder=disk / "toy")


@contextmanager
def _mounted(*options: str) -> Iterator[None]:
    """Mount a file system for the duration of the block; the last option is the mount point."""
    _call("mount", *options)
    try:
        yield
    finally:
        _call("umount", "--lazy", options[-1])  # MLflow keeps its database open


def _call(*command: str) -> None:
    """Run a command. RuntimeError with its error message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def _not_permitted(folder: Path) -> str:
    """The reason why file systems cannot be mounted here, or an empty string."""
    if sys.platform != "linux" or not shutil.which("mount"):
        return "tmpfs needs Linux and the command mount"
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
    """Bytes in whole pages, as tmpfs counts them."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files)
