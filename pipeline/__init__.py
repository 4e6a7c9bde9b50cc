"""The DVC stages, one thin module each: `python -m pipeline.<stage>` from the project's root.

Puts src of the working directory first on the path, so that an experiment that DVC runs in a copy of the project uses
the code of that copy, not an installed version.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path.cwd() / "src"))

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.processes import end_with_parent

# Keeps glibc from mapping and unmapping large tensors at every step. It reads these variables at process start.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "500000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
COMPUTING = ("pipeline.train", "pipeline.evaluate", "pipeline.tune")

command = getattr(sys, "orig_argv", [])[1:]
if sys.platform == "linux" and command[:1] == ["-m"] and command[1].startswith(f"{__name__}."):
    # End the stage when DVC dies, or the next `dvc repro` would find it still running. Has no effect if $SHELL remains
    # the parent process (dash does, bash does not).
    if "DVC_STAGE" in os.environ:
        end_with_parent(signal.SIGTERM)
        from denoiselab.runtime import dvc_files  # imports psutil; pipeline.doctor needs only Python

        with suppress(OSError):  # such as a full disk; it is only for pipeline.repair
            dvc_files.keep_lock()
    if command[1] in COMPUTING and not ALLOCATOR.keys() & {*os.environ}:
        os.execve(sys.executable, [sys.executable, *command], {**os.environ, **ALLOCATOR})


def argument(name: str) -> str:
    """The stage's only command-line argument. UserError if there is none or more than one."""
    if len(sys.argv) != 2:
        raise UserError(f"expected one argument: {name}")
    return sys.argv[1]


def run(stage: Callable[[], None]) -> None:
    """Run a stage. A UserError or OSError ends it with a one-line message and exit code 1 instead of a traceback."""
    from denoiselab.runtime.sanitize import error_message

    try:
        stage()
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
            error.filename = Path.cwd()  # errors on writing name no file
        _end_beside_stuck_threads(error_message(error))
        sys.exit(error_message(error))
    _end_beside_stuck_threads()


def _end_beside_stuck_threads(error: str = "") -> None:
    """End the process if a thread is still in a call to MLflow: Python's own ending could abort it there."""
    worker = sys.modules.get("denoiselab.tracking.worker")
    if worker and any(thread.is_alive() for thread in worker.stuck):
        if error:
            print(error, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if error else 0)
