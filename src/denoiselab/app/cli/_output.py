"""What subcommands share: how they say things, so that no file name can break a line."""

import json
import os
import sys
from typing import Any

from denoiselab.runtime.sanitize import printable as plain

__all__ = ["plain", "quiet", "report", "say"]


def say(text: object) -> None:
    """A line on stderr."""
    print(plain(text), file=sys.stderr)


def report(text: str, values: Any, as_json: bool) -> None:
    """What was found on stdout: lines of text, or `values` as JSON."""
    if as_json:
        print(json.dumps(values, indent=2, allow_nan=False))
    else:
        print("\n".join(map(plain, text.splitlines())))


def quiet() -> bool:
    """Whether there is nobody to look at a progress bar."""
    return bool(os.environ.get("CI")) or not sys.stderr.isatty()
