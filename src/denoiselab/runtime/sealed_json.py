"""JSON files with a format version and their own SHA-256: newer formats are refused, damage is detected.

They also hold the SHA-256 of other files, such as images and tables.
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
    """A kind of JSON file."""

    versions: range  # supported format versions; the last is written
    sealed: int  # first version with its own SHA-256

    def write(self, path: Path, value: dict[str, Any]) -> None:
        """Write `value` in the latest format; `format` in `value` is replaced."""
        value = {"format": None} | value | {"format": self.versions[-1]}
        files.write_json(path, value | {"sha256": _digest(value)})

    def read(self, path: Path, remedy: str) -> dict[str, Any]:
        """The written value, with `format`; without one it is format 1.

        UserError, ending with `remedy` (what to do), if the file is missing, damaged, changed or of an unsupported
        format.
        """
        try:
            value = files.read_json(path)
        except ValueError as error:
            raise UserError(f"{error}; {remedy}") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: not a JSON object; {remedy}")
        recorded, version = value.pop("sha256", None), value.get("format", 1)
        check_version(path, version, self.versions, remedy)
        if recorded != _digest(value) and (recorded is not None or version >= self.sealed):
            raise UserError(_changed(path, remedy))
        return value


def check_version(path: Path, version: Any, versions: range, remedy: str) -> None:
    """UserError if a file's format `version` is not among the supported `versions`."""
    if type(version) is int and version in versions:
        return
    supported = " to ".join(str(number) for number in dict.fromkeys((versions[0], versions[-1])))
    newer = type(version) is int and version > versions[-1]
    raise UserError(
        f"{path}: format {version!r} is not supported, this version of denoiselab reads {supported}; "
        f"{'update denoiselab, or ' if newer else ''}{remedy}"
    )


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files by file name."""
    return {path.name: files.sha256(path) for path in paths}


def verify(path: Path, sha256: str | None, remedy: str) -> Path:
    """`path`, if its SHA-256 is `sha256` (None: not checked). UserError if it is missing, damaged or changed."""
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
