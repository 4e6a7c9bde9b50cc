"""What subcommands share: lines for people on stderr, which no file name can break."""

import os
import sys


def plain(text: object) -> str:
    """As it can be printed anywhere: control characters and broken file names escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def say(text: object) -> None:
    """A line on stderr."""
    print(plain(text), file=sys.stderr)


def quiet() -> bool:
    """Whether there is nobody to look at a progress bar."""
    return bool(os.environ.get("CI")) or not sys.stderr.isatty()
