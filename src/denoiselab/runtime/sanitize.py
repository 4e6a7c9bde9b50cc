"""Sanitise untrusted text for display, such as file names and server messages."""

import re

from denoiselab.runtime.errors import UserError

LOGIN = re.compile(r"(?<=://)(?:[^\s/:@]*:\S*|[^\s/@]*)@")  # in a URL; a password may contain any character
PASSWORD = re.compile(r"(?<=password=)[^&\s'\"]+")  # in a URL's query


def printable(text: object) -> str:
    """Escape control characters, bidirectional marks and undecodable bytes of file names, for printing anywhere."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def markdown(text: object) -> str:
    """Escape text for Markdown, in a line, a table cell or an image's description."""
    return re.sub(r"[\\`*\[\]<>&|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", printable(text).strip())


def one_line(error: object, limit: int = 200) -> str:
    """Message of a library's error in one line, without logins, at most `limit` characters; its class if empty."""
    text = without_login(getattr(error, "strerror", None) or error)
    return " ".join(text.split())[:limit] or type(error).__name__


def error_message(error: UserError | OSError, label: str = "error") -> str:
    """Message of an error without logins: one line, or one for each mistake in settings, each after `label: `."""
    if isinstance(error, OSError) and error.strerror:
        lines = [f"{error.filename}: {error.strerror}" if error.filename else error.strerror]
    else:
        lines = getattr(error, "lines", [str(error)])
    return "\n".join(f"{label}: {printable(without_login(line))}" for line in lines)


def without_login(text: object) -> str:
    """Replace the user and password of URLs in the text by ***."""
    return PASSWORD.sub("***", LOGIN.sub("***@", str(text)))
