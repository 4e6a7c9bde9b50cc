"""Whether progress is shown."""

import os
import sys


def hidden() -> bool:
    """Whether to hide progress bars: in CI, or where stderr is not a terminal."""
    return bool(os.environ.get("CI")) or not sys.stderr.isatty()
