"""Checkpoints that survive a kill: written to a temporary file, flushed, renamed. Damaged ones are set aside."""

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

VERSIONS = range(1, 2)  # formats that are read; the last one is written
KEPT = 20  # folders; older ones are removed when a training run starts


class Checkpoint:
    """The state of one training run, `root`/<fingerprint>/state.pt: tensors and plain values only."""

    def __init__(self, root: Path, fingerprint: str):
        self.folder = root / fingerprint
        self.path = self.folder / "state.pt"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder: a second run of the same job waits, then finds the finished state."""
        files.make_folder(self.folder)
        with FileLock(self.folder / "lock"):
            self.folder.touch()
            _prune(self.folder.parent)
            yield

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state. OSError if it cannot be written; the saved one is then kept."""
        with files.atomic_write(self.path) as temporary, temporary.open("wb") as handle:
            try:
                torch.save({"format": VERSIONS[-1], **state}, handle)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch reports a full disk as "unexpected pos"
                    raise error.__context__ from None
                raise

    def load(self) -> dict[str, Any] | None:
        """The saved state, on the CPU; None if there is none. UserError if its format is not supported."""
        if not self.path.exists():
            return None
        try:
            _check(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001  (damaged files raise anything)
            aside, reason = self.path.with_suffix(".damaged"), one_line(error)
            self.path.replace(aside)
            print(f"warning: checkpoint is damaged, starting again; kept as {aside}: {reason}", file=sys.stderr)
            return None
        sealed_json.check_version(self.path, state.pop("format", 1), VERSIONS, f"delete {self.folder} to start again")
        return state


def _check(path: Path) -> None:
    """Verify the CRC-32 in torch's zip file, which torch.load does not check. UserError if it is wrong."""
    with zipfile.ZipFile(path) as parts:
        if damaged := parts.testzip():
            raise UserError(f"{damaged} has a wrong checksum")


def _prune(root: Path) -> None:
    with FileLock(root / "prune.lock"):
        folders = sorted((p for p in root.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
        for folder in folders[KEPT:]:
            shutil.rmtree(folder, ignore_errors=True)
