"""Printing for the subcommands; unprintable characters, in file names for example, are escaped."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from denoiselab.runtime.sanitize import printable as plain

__all__ = ["only_own_lines", "plain", "report", "say"]


def say(text: object) -> None:
    """Print a line on stderr."""
    print(plain(text), file=sys.stderr)


def report(text: str, values: Any, as_json: bool) -> None:
    """Print results on stdout: `text`, or `values` as JSON."""
    if as_json:
        print(json.dumps(values, indent=2, allow_nan=False))
    else:
        print("\n".join(map(plain, text.splitlines())))


@contextmanager
def only_own_lines() -> Iterator[None]:
    """Hide what C libraries, such as libtiff and libpng, write to stderr: each failure has a line of ours."""
    own, shown = sys.stderr, os.dup(2)
    with suppress(OSError, ValueError, AttributeError):  # replaced, as by a test
        own.flush()
        if own.fileno() == 2:
            sys.stderr = os.fdopen(os.dup(shown), "w", 1, encoding=own.encoding, errors=own.errors)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        if sys.stderr is not own:
            sys.stderr.close()
            sys.stderr = own
