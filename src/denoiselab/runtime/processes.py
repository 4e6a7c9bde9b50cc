"""Checks whether a process is alive; ends a process together with its parent."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # option of Linux's prctl


def alive(host: str | None, process: str | int | None, here: str) -> bool:
    """Whether a process may still be running. Always True unless its `host` is `here`, this machine.

    False for this process's own id: an earlier process with the same id is meant.
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
    """Send this process the signal when its parent ends. Linux only; elsewhere it does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sent)
