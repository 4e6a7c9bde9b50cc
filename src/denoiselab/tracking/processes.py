"""Whether the process that a run or a trial belongs to may still work on it, and who tells when it is gone."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

SOURCE = Path(__file__).parents[2]  # of the package that is at work, whatever is installed
MOURNER = """\
import os, sys, time
if not sys.stdin.readline():  # its other end is gone, and nobody said that all is well
    while os.getppid() == int(sys.argv[1]):
        time.sleep(0.1)
    from denoiselab.tracking import worker
    worker.mourn()
"""


class Watch:
    """A small process that outlives this one: where this one is killed, it marks its runs so, if the store answers.

    Nothing else could tell: a `dvc repro` that finds all outputs in its cache runs none of the project's code.
    """

    def __init__(self, store: str) -> None:
        found = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
        self.process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):  # no process is to be had: it is the training that counts
            self.process = subprocess.Popen(
                [sys.executable, "-c", MOURNER, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a signal to all of a `dvc repro` is not for it
                env=os.environ | {"MLFLOW_TRACKING_URI": store, "PYTHONPATH": found},
            )

    def end(self) -> None:
        """All is well."""
        if self.process:
            self.process.communicate(b"ended\n")  # a line: workers that this process forked hold the pipe, too
