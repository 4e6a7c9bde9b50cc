"""Servers for tests, as bench._servers runs them: with the commands of the documentation."""

import shlex
import sys
from pathlib import Path

from bench._servers import free_port, running, stop

__all__ = ["NO_JOBS", "documented", "free_port", "running", "stop"]

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else an MLflow server starts seven interpreters more


def documented(page: Path, begin: str, **values: str) -> list[str]:
    """The command in `page` that begins so, with other values of some options (`some_name`: that of --some-name)."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    words = shlex.split(next(line for line in text.splitlines() if line.startswith(begin)))
    for option, value in values.items():
        words[words.index(f"--{option.replace('_', '-')}") + 1] = value
    return [sys.executable, "-m", *words]
