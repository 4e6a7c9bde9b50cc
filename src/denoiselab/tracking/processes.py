"""Whether the process that a run or a trial belongs to may still work on it."""

import os


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
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
