"""Printing for the subcommands; unprintable characters, in file names for example, are escaped."""

import json
import os
import sys
from typing import Any

from denoiselab.runtime.sanitize import printable as plain

__all__ = ["plain", "quiet", "report", "say"]


def say(text: object) -> None:
    """Print a line on stderr."""
    print(plain(text), file=sys.stderr)


def report(text: str, values: Any, as_json: bool) -> None:
    """Print results on stdout: `text`, or `values` as JSON."""
    if as_json:
        print(json.dumps(values, indent=2, allow_nan=False))
    else:
        print("\n".join(map(plain, text.splitlines())))


def quiet() -> bool:
    """Whether to hide progress bars: in CI, or where stderr is not a terminal."""
    return bool(os.environ.get("CI")) or not sys.stderr.isatty()
