"""Checkpoints that survive a kill: written to a temporary file, flushed, renamed. Damaged ones are set aside.

Beside each lies job.json, the identity of its training run: a run without a checkpoint says in what it differs from one
that has one, such as one copied from another machine.
"""

import errno
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from denoiselab.runtime import devices, files, paths, sealed_json
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

VERSIONS = range(1, 2)  # formats that are read; the last one is written
IDENTITY = "job.json"
MAX_SHOWN = 5  # differences in a message
MAX_LENGTH = 60  # characters of two values in a message; hashes are longer
KEPT = 20  # folders of trainings, and of evaluations; older ones are removed when a training run starts


class Checkpoint:
    """The state of one training run, `root`/<fingerprint>/state.pt: tensors and plain values only."""

    def __init__(self, root: Path, fingerprint: str, identity: dict[str, Any] | None = None):
        """`identity`: what the fingerprint is the hash of."""
        self.folder = root / fingerprint
        self.path = self.folder / "state.pt"
        self.identity = identity or {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder: a second run of the same job waits, then finds the finished state."""
        files.make_folder(self.folder)
        with FileLock(self.folder / "lock"):
            self.folder.touch()
            _prune(self.folder.parent)
            if self.identity and not self.path.exists():
                self._compare()
            files.write_json(self.folder / IDENTITY, self.identity)
            yield

    def _compare(self) -> None:
        """Say in what this run differs from the most similar one of the same model and seed that has a checkpoint."""
        similar = []
        for path in sorted(self.folder.parent.glob(f"*/{IDENTITY}")):
            other = _identity(path)
            if path.with_name(self.path.name).exists() and all(
                other.get(key) == self.identity.get(key) for key in ("name", "seed")
            ):
                similar.append((_differences(other, self.identity), path.parent))
        if similar:
            differences, folder = min(similar, key=lambda one: len(one[0]))
            more = f" and {len(differences) - MAX_SHOWN} more" if len(differences) > MAX_SHOWN else ""
            shown = "; ".join(differences[:MAX_SHOWN])
            print(f"starting anew: the checkpoint in {folder} differs in {shown}{more}", file=sys.stderr)

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
        """The saved state, on the CPU; None if there is none or it is damaged.

        UserError if it cannot be read now, or if its format is not supported.
        """
        if not self.path.exists():
            return None
        try:
            _check(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001  (damaged files raise anything)
            reason = one_line(error)
            failed = isinstance(error, OSError) and error.errno != errno.EINVAL  # of a damaged zip file
            if failed or devices.is_out_of_memory(error):  # the file may be intact
                raise UserError(f"{self.path}: cannot be read: {reason}") from None
            aside = self.path.with_suffix(".damaged")
            self.path.replace(aside)
            print(f"warning: checkpoint is damaged, starting again; kept as {aside}: {reason}", file=sys.stderr)
            return None
        sealed_json.check_version(self.path, state.pop("format", 1), VERSIONS, f"delete {self.folder} to start again")
        return state


def _identity(path: Path) -> dict[str, Any]:
    """Identity of another run; empty if the file is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, RecursionError, TypeError, ValueError):
        return {}


def _differences(theirs: Any, ours: Any, key: str = "") -> list[str]:
    """Keys whose values differ, with both values if they are short."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = sorted(theirs.keys() | ours.keys())
        return [
            text for k in keys for text in _differences(theirs.get(k), ours.get(k), f"{key}.{k}" if key else str(k))
        ]
    if theirs == ours:
        return []
    values = f"{theirs}, here {ours}"
    return [f"{key} ({values})" if len(values) <= MAX_LENGTH else key]


def _check(path: Path) -> None:
    """Verify the CRC-32 in torch's zip file, which torch.load does not check. UserError if it is wrong."""
    with zipfile.ZipFile(path) as parts:
        if damaged := parts.testzip():
            raise UserError(f"{damaged} has a wrong checksum")


def _prune(root: Path) -> None:
    """Remove old folders that no running training holds."""
    with FileLock(root / "prune.lock"):
        folders = [path for path in root.iterdir() if path.is_dir()]
        evaluations = [path for path in folders if path.name.startswith(paths.EVALUATION)]
        for own in (evaluations, [path for path in folders if path not in evaluations]):
            for folder in sorted(own, key=_changed, reverse=True)[KEPT:]:
                with suppress(OSError), FileLock(folder / "lock", timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)


def _changed(folder: Path) -> float:
    """When it was last changed; 0 if another process has just removed it."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0
