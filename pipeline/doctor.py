"""Check that the pipeline can run on this machine. Prints problems line by line; exit code 1 if there are any.

Needs only Python and git.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MINIMUM = (3, 11)
FREE_GIB = 5  # for the packages, data and models of the default run
PACKAGES = ("dvc", "mlflow", "torch")


def main() -> int:
    problems = [problem for check in (_python, _root, _git, _disk) if (problem := check())]
    for problem in problems:
        print(f"doctor: {problem}", file=sys.stderr)
    if not problems:
        print(f"doctor: ready (Python {sys.version.split()[0]}, {os.cpu_count()} cores, {_packages()})")
    return 1 if problems else 0


def _python() -> str | None:
    if sys.version_info < MINIMUM:
        return f"Python {sys.version.split()[0]} is too old: {MINIMUM[0]}.{MINIMUM[1]} or later is needed"
    return None


def _root() -> str | None:
    if not Path("dvc.yaml").is_file():
        return f"{Path.cwd()} has no dvc.yaml: run from the project's root"
    return None


def _git() -> str | None:
    """DVC needs a Git repository, and its experiments need a commit."""
    if not shutil.which("git"):
        return "git is not installed"
    if not _succeeds("git", "rev-parse", "--git-dir"):
        return "this folder is not a Git repository, which DVC needs: git init && git add -A && git commit -m 'Start'"
    if not _succeeds("git", "rev-parse", "--verify", "HEAD"):
        return "the Git repository has no commit yet, which DVC's experiments need: git add -A && git commit -m 'Start'"
    return None


def _disk() -> str | None:
    if Path(".venv/installed").exists():
        return None
    free = shutil.disk_usage(".").free / 2**30
    return f"{free:.1f} GiB of disk space are free; {FREE_GIB} GiB are needed" if free < FREE_GIB else None


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _packages() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return "packages are not installed yet; make installs them in .venv"
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
