"""First on a stage's PYTHONPATH: its process gets a signal at its FAULT_AT-th change of a file, the same one each time.

FAULT_STAGE is the stage's module, FAULT_SIGNAL a number and FAULT_GROUP 1 where all that DVC started gets it, too.
With FAULT_COUNT instead, a file, the number of changes is written there when the process ends.
"""

import atexit
import os
import sys
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir"}
seen = 0


def watch(event: str, args: tuple[object, ...]) -> None:
    """Called by the interpreter before whatever it does to a file."""
    global seen
    if not (event in CHANGES or (event == "open" and _writes(args))) or not _own(args[0]):
        return
    seen += 1
    if seen == int(os.environ.get("FAULT_AT", "0")):
        number = int(os.environ["FAULT_SIGNAL"])
        if os.environ.get("FAULT_GROUP") == "1":
            os.killpg(0, number)
        else:
            os.kill(os.getpid(), number)


def _writes(args: tuple[object, ...]) -> bool:
    return bool(int(args[2] or 0) & (os.O_WRONLY | os.O_RDWR))  # type: ignore[call-overload]


def _own(path: object) -> bool:
    """Whether the file is the project's: its outputs, checkpoints and MLflow's artifacts, but not compiled modules."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    absolute = Path(os.fsdecode(path)).absolute()
    return absolute.is_relative_to(project) and "__pycache__" not in absolute.parts


def count() -> None:
    Path(os.environ["FAULT_COUNT"]).write_text(str(seen), encoding="utf-8")


if os.environ.get("FAULT_STAGE") in getattr(sys, "orig_argv", []):
    project = Path(os.environ.get("DVC_ROOT", ".")).absolute()
    sys.addaudithook(watch)
    if "FAULT_COUNT" in os.environ:
        atexit.register(count)
