"""Runs `denoiselab ...` in this process."""

import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from denoiselab.app.cli import main


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def denoiselab(*arguments: object) -> Said:
    """What a command says, and its exit code."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
            code: Any = 0
        except SystemExit as ended:
            code = ended.code
    if isinstance(code, str):  # as Python itself does at the end of a process
        return Said(1, out.getvalue(), err.getvalue() + code + "\n")
    return Said(code or 0, out.getvalue(), err.getvalue())
