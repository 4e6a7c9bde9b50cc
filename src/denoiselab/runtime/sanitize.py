"""Text of strangers, such as names of files and what servers say, where it is shown."""

import re

from denoiselab.runtime.errors import UserError

LOGIN = re.compile(r"(?<=://)(?:[^\s/:@]*:\S*|[^\s/@]*)@")  # of an address; a password may have any letter
PASSWORD = re.compile(r"(?<=password=)[^&\s'\"]+")  # of an address's query


def printable(text: object) -> str:
    """As it can be printed anywhere: control characters, marks that turn the direction of writing, and what is no
    Unicode of a file's name, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def markdown(text: object) -> str:
    """Text so that Markdown shows it as it is, in a line, a table's cell or a picture's description."""
    return re.sub(r"[\\`*\[\]<>&|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", printable(text).strip())


def one_line(error: object, limit: int = 200) -> str:
    """What an error of another library says, in one line without logins, at most `limit` characters; else its class."""
    text = without_login(getattr(error, "strerror", None) or error)
    return " ".join(text.split())[:limit] or type(error).__name__


def told(error: UserError | OSError) -> str:
    """An error in words, without the logins of addresses: a line, or one for each mistake in settings."""
    if isinstance(error, OSError) and error.strerror:
        lines = [f"{error.filename}: {error.strerror}" if error.filename else error.strerror]
    else:
        lines = getattr(error, "lines", [str(error)])
    return "\n".join(printable(without_login(line)) for line in lines)


def without_login(text: object) -> str:
    """Without the user and password of the addresses in it."""
    return PASSWORD.sub("***", LOGIN.sub("***@", str(text)))
