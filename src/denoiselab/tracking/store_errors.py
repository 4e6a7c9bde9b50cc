"""Errors of the tracking store: the reason in one line, with a remedy if there is one; whether a retry can help."""

import re
from collections.abc import Iterator

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

# Codes of MLflow's errors that stay, such as those of a deleted run or a wrong password.
PERMANENT = {
    *("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED"),
}
# What a database says that is damaged, or not MLflow's.
DAMAGED = ("file is not a database", "disk image is malformed", "no such table", "no such column")
OTHER_VERSION = "out-of-date database schema"  # MLflow names the command that upgrades it


def reason(error: BaseException, store: str) -> str:
    """Why a call failed, in one line without SQL and other libraries' classes. `store` is the store's address."""
    if isinstance(error, UserError):
        return one_line(error, 500)
    said = one_line(str(error).partition("[SQL:")[0], 300)
    database = re.fullmatch(r"\([\w.]+\) (.*)", said)  # SQLAlchemy begins with the class
    if any(text in said for text in DAMAGED):
        said += "; restore the database from a backup, or move it away, and a new one is made"
    if database:
        return f"{store}: {said.partition(') ')[2]}"
    root = [*_chain(error)][-1]
    return f"{store}: {one_line(root.strerror or root, 300)}" if isinstance(root, OSError) else said


def permanent(error: BaseException) -> bool:
    """Whether every retry would fail."""
    text = str(error)
    known = any(part in text for part in (*DAMAGED, OTHER_VERSION))
    return known or isinstance(error, UserError) or getattr(error, "error_code", None) in PERMANENT


def busy(error: BaseException) -> bool:
    """Whether the store is there but has no time: a locked database, or no answer within the time limit."""
    from requests import ConnectTimeout, Timeout

    slow = any(isinstance(one, Timeout) and not isinstance(one, ConnectTimeout) for one in _chain(error))
    return slow or "database is locked" in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the first cause last."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__
