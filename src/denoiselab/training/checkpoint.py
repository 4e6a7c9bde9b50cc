"""Training states that survive a kill: written aside, flushed, renamed; damaged ones are set aside, not used."""

import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from denoiselab.runtime import files, sealed_json
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

VERSIONS = range(1, 2)  # of its format, that are read; the last is written
KEPT = 20  # folders; older ones are removed when a new training starts


class Checkpoint:
    """The state of one training in `root`/<fingerprint>/state.pt: tensors and plain values alone."""

    def __init__(self, root: Path, fingerprint: str):
        self.folder = root / fingerprint
        self.path = self.folder / "state.pt"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder alone: a second training of the same configuration waits, then finds the result."""
        files.make_folder(self.folder)
        with FileLock(self.folder / "lock"):
            self.folder.touch()
            _prune(self.folder.parent)
            yield

    def save(self, state: dict[str, Any]) -> None:
        """Put `state` in place of the last one. OSError where it cannot be written; the last one is kept then."""
        with files.replacing(self.path) as temporary, temporary.open("wb") as handle:
            try:
                torch.save({"format": VERSIONS[-1], **state}, handle)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch tells of a full disk as "unexpected pos"
                    raise error.__context__ from None
                raise

    def load(self) -> dict[str, Any] | None:
        """The last state on the CPU, or None where there is none. ValueError where it is of another format."""
        if not self.path.exists():
            return None
        try:
            _check(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001  (a damaged file fails in many ways)
            aside, reason = self.path.with_suffix(".damaged"), one_line(error)
            self.path.replace(aside)
            print(f"warning: checkpoint is damaged, starting again; kept as {aside}: {reason}", file=sys.stderr)
            return None
        sealed_json.check_version(self.path, state.pop("format", 1), VERSIONS, f"delete {self.folder} to start again")
        return state


def _check(path: Path) -> None:
    """ValueError where a part of what torch.save wrote has not its CRC-32, at which torch.load does not look."""
    with zipfile.ZipFile(path) as parts:
        if damaged := parts.testzip():
            raise UserError(f"{damaged} has not the checksum that was written")


def _prune(root: Path) -> None:
    with FileLock(root / "prune.lock"):
        folders = sorted((p for p in root.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
        for folder in folders[KEPT:]:
            shutil.rmtree(folder, ignore_errors=True)
