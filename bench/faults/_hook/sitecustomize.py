"""Put first on the PYTHONPATH of `dvc repro`: sends a signal to a stage at a given file operation, reproducibly.

FAULT_STAGE: name of the stage in dvc.yaml. FAULT_AT: number of the file operation. FAULT_SIGNAL: number of the signal.
FAULT_GROUP: 1 to signal the whole process group. Alternatively FAULT_COUNT: a folder where every stage, when it ends,
writes a file with its seconds and its number of file operations.
"""

import atexit
import os
import sys
import time
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir"}
seen = 0


def watch(event: str, args: tuple[object, ...]) -> None:
    """Audit hook, called by the interpreter before each file operation."""
    global seen
    if not (event in CHANGES or (event == "open" and _writes(args))) or not _own(args[0]):
        return
    seen += 1
    if seen == at:
        number = int(os.environ["FAULT_SIGNAL"])
        if os.environ["FAULT_GROUP"] == "1":
            os.killpg(0, number)
        else:
            os.kill(os.getpid(), number)


def _writes(args: tuple[object, ...]) -> bool:
    return bool(int(args[2] or 0) & (os.O_WRONLY | os.O_RDWR))  # type: ignore[call-overload]


def _own(path: object) -> bool:
    """Whether the file is in the project (outputs, checkpoints, MLflow artifacts), compiled modules excluded."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    absolute = Path(os.fsdecode(path)).absolute()
    return absolute.is_relative_to(project) and "__pycache__" not in absolute.parts


def count() -> None:
    path = Path(os.environ["FAULT_COUNT"]) / stage
    path.write_text(f"{time.monotonic() - started} {seen}", encoding="utf-8")


stage = os.environ.get("DVC_STAGE", "")
if stage and sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("pipeline."):
    project, started = Path(os.environ["DVC_ROOT"]), time.monotonic()
    at = int(os.environ["FAULT_AT"]) if os.environ.get("FAULT_STAGE") == stage else 0
    if at or "FAULT_COUNT" in os.environ:
        sys.addaudithook(watch)
    if "FAULT_COUNT" in os.environ:
        atexit.register(count)
