"""The DVC stages: one thin module each, run as `python -m pipeline.<stage>` from the project's root.

The working directory's own src comes first on the path, so that an experiment queued by DVC in a copy
of the project runs that copy's code, whatever is installed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path.cwd() / "src"))


def run(stage: Callable[[], None]) -> None:
    """Run a stage; a user's mistake ends it with one line and exit code 1, not with a traceback."""
    try:
        stage()
    except ValueError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or ''}: {error.strerror or error}")
