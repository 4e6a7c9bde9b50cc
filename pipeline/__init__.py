"""The DVC stages: one thin module each, run as `python -m pipeline.<stage>` from the project's root.

The working directory's own src comes first on the path, so that an experiment queued by DVC in a copy
of the project runs that copy's code, whatever is installed.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path.cwd() / "src"))

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.processes import end_with_parent

# Large tensors are otherwise mapped and unmapped at every step; glibc reads these when a process starts.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "500000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
COMPUTING = ("pipeline.train", "pipeline.evaluate", "pipeline.tune")

command = getattr(sys, "orig_argv", [])[1:]
if sys.platform == "linux" and command[:1] == ["-m"] and command[1].startswith(f"{__name__}."):
    # It ends with its DVC, or the next `dvc repro` would find it still at work; not where $SHELL stays between the two,
    # as dash does and bash does not.
    if "DVC_STAGE" in os.environ:
        end_with_parent(signal.SIGTERM)
    if command[1] in COMPUTING and not ALLOCATOR.keys() & {*os.environ}:
        os.execve(sys.executable, [sys.executable, *command], {**os.environ, **ALLOCATOR})


def argument(name: str) -> str:
    """The stage's one command-line argument."""
    if len(sys.argv) != 2:
        raise UserError(f"one argument is needed: {name}")
    return sys.argv[1]


def run(stage: Callable[[], None]) -> None:
    """Run a stage; a user's mistake ends it with one line and exit code 1, not with a traceback."""
    from denoiselab.runtime.sanitize import told

    try:
        stage()
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
            error.filename = Path.cwd()  # writing tells no file's name
        sys.exit(f"error: {told(error)}")
