"""Whether a process is still there."""

import os

import psutil


def alive(host: str | None, process: str | int | None, here: str) -> bool:
    """Whether a process of `host` may be at work, seen from the machine `here`: that of another machine may.

    This process itself does not count: what is marked as its own was left by an earlier one with its number.
    """
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
