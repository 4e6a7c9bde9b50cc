"""Git commit of the working tree."""

import os
import subprocess
from pathlib import Path

OUTPUTS = ("dvc.lock", "reports")  # written by a run itself


def commit() -> str | None:
    """Commit hash of the working tree, with -dirty if it has changes of the user's; None outside a repository.

    What a run writes is no change: its outputs and, within `dvc exp run`, params.yaml.
    """
    written = [*OUTPUTS, *(["params.yaml"] if experiment() else [])]
    others = [f":(exclude,top){path}" for path in written]
    try:
        name = _git("describe", "--always", "--abbrev=12")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *others)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{name}-dirty" if changed else name


def experiment() -> str | None:
    """Name of the DVC experiment that this process is part of; None outside `dvc exp run`."""
    return os.environ.get("DVC_EXP_NAME")


def committed(path: Path, root: Path = Path()) -> bytes | None:
    """Content of `path`, relative to the folder `root`, in the last commit; None if Git has none."""
    try:
        return subprocess.run(
            ["git", "show", f"HEAD:./{path.as_posix()}"], cwd=root, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
