"""Processes: whether one is still there, and how one ends with its parent."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def alive(host: str | None, process: str | int | None, here: str) -> bool:
    """Whether a process of `host` may be at work, seen from the machine `here`: that of another machine may.

    This process itself does not count: what is marked as its own was left by an earlier one with its number.
    """
    import psutil

    if host != here:
        return True
    try:
        number = int(process or 0)
        if number <= 0 or number == os.getpid():
            return False
        os.kill(number, 0)
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess, ValueError):
        return False
    except (PermissionError, psutil.AccessDenied):
        return True


def end_with_parent(sent: signal.Signals) -> None:
    """Have this process sent a signal when its parent ends. Linux only: elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sent)
