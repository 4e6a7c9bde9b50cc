"""JSON files that state the format they are of and their own sha256: a newer one is refused, a damaged one noticed.

They also hold the sha256 of files beside them that have no place for one.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A kind of such files."""

    versions: range  # of its format, that are read; the last is written
    sealed: int  # the first version that states its own sha256

    def write(self, path: Path, value: dict[str, Any]) -> None:
        """Write `value`; a `format` that it has from a file that was read gives way."""
        value = {"format": None} | value | {"format": self.versions[-1]}
        files.write_json(path, value | {"sha256": _digest(value)})

    def read(self, path: Path, remedy: str) -> dict[str, Any]:
        """What was written, with `format`; a file that states none is of format 1.

        ValueError names a file that is missing, damaged, changed since it was written, or of a format that is not
        read, and `remedy`, what to do about it.
        """
        try:
            value = files.read_json(path)
        except ValueError as error:
            raise UserError(f"{error}; {remedy}") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: is no JSON object; {remedy}")
        stated, version = value.pop("sha256", None), value.get("format", 1)
        check_version(path, version, self.versions, remedy)
        if stated != _digest(value) and (stated is not None or version >= self.sealed):
            raise UserError(_changed(path, remedy))
        return value


def check_version(path: Path, found: Any, versions: range, remedy: str) -> None:
    """ValueError where `found`, the format of a file, is not among those that are read."""
    if type(found) is int and found in versions:
        return
    known = " to ".join(str(version) for version in dict.fromkeys((versions[0], versions[-1])))
    newer = type(found) is int and found > versions[-1]
    raise UserError(
        f"{path}: is of format {found!r}, this version of denoiselab reads {known}; "
        f"{'update denoiselab, or ' if newer else ''}{remedy}"
    )


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """The sha256 of files by their names."""
    return {path.name: files.sha256(path) for path in paths}


def verify(path: Path, sha256: str | None, remedy: str) -> Path:
    """`path`, if it has that sha256, or None is known. ValueError where it is missing, damaged or changed."""
    try:
        if sha256 is None or files.sha256(path) == sha256:
            return path
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {remedy}") from None
    raise UserError(_changed(path, remedy))


def _changed(path: Path, remedy: str) -> str:
    return f"{path}: differs from what was written; {remedy}"


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
