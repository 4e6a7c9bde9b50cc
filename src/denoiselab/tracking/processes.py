"""Whether the process that a run or a trial belongs to may still work on it, and who tells when it is gone."""

import os
import subprocess
import sys

import psutil

MOURNER = """\
import sys, time
if not sys.stdin.read():  # its other end is gone, and nobody said that all is well
    time.sleep(1)  # until that process has ended, too
    from denoiselab.tracking import runs
    runs.bury()
"""


def alive(host: str | None, process: str | int | None, here: str) -> bool:
    """Whether a process of `host` may be at work, seen from the machine `here`: that of another machine may.

    This process itself does not count: what is marked as its own was left by an earlier one with its number.
    """
    if host != here:
        return True
    try:
        number = int(process or 0)
        return number > 0 and number != os.getpid() and psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False
    except psutil.AccessDenied:
        return True


class Watch:
    """A small process that outlives this one: where this one is killed, it leaves none of its runs RUNNING.

    Nothing else could tell: a `dvc repro` that finds all outputs in its cache runs none of the project's code.
    """

    def __init__(self, store: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MOURNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to all of a `dvc repro` is not for it
            env=os.environ | {"MLFLOW_TRACKING_URI": store},
        )

    def end(self) -> None:
        """All is well."""
        self.process.communicate(b"ended")
