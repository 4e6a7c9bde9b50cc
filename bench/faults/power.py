"""Simulated power losses at every step of a write: no reader may accept a partly written file as complete.

A power loss keeps flushed data. Data not yet flushed may be lost or partly written, and new names in a folder may be
missing until the folder is flushed. Each possible state after each step of a writer is recreated in a folder. Readers
must find either the old or the complete new content there, and the new content once the writer has returned.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from bench.faults._trial import Row, Settings, Trial
from denoiselab import architectures
from denoiselab.models import model_store
from denoiselab.runtime import files
from denoiselab.training.checkpoint import Checkpoint

Names = dict[str, int]  # inodes of the files in a tree by path; 0 for a folder


@dataclass
class Disk:
    """Flushed names and contents of the tree `root`, and the `states` that a power loss may leave during a write."""

    root: Path
    names: Names = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    states: list[dict[str, bytes | None]] = field(default_factory=list)  # contents by path, None for a folder

    def __post_init__(self) -> None:
        """Existing files count as flushed."""
        self.names = self._now()
        self.contents = {inode: path.read_bytes() for path, inode in self._files()}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record the states before and after each flush, rename, removal and new folder in the block."""
        calls = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "mkdir", "unlink")}
        with patch.dict(vars(os), {name: partial(self._noted, call) for name, call in calls.items()}):
            yield
        self._note()

    def final(self) -> list[dict[str, bytes | None]]:
        """The states that a power loss may leave now, after the write."""
        before, self.states = self.states, []
        self._note()
        found, self.states = self.states, before
        return found

    def _noted(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._note()
        result = call(*args, **kwargs)
        if call.__name__ == "fsync":
            self._flushed(os.fstat(args[0]).st_ino)
        self._note()
        return result

    def _flushed(self, inode: int) -> None:
        """Mark a file's content, or the names in a folder, as flushed."""
        for path, own in self._files():
            if own == inode:
                self.contents[inode] = path.read_bytes()
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            if folder.stat().st_ino == inode:
                now = {path: own for path, own in self._now().items() if Path(path).parent == self._relative(folder)}
                kept = {path: own for path, own in self.names.items() if Path(path).parent != self._relative(folder)}
                self.names = kept | now

    def _note(self) -> None:
        """Record states with flushed and with current names, each with none, half and all of the unflushed data."""
        for names in (self.names, self._now()):
            for share in (0.0, 0.5, 1.0):
                state = {path: self._kept(inode, share) if inode else None for path, inode in names.items()}
                reachable = {path: data for path, data in state.items() if self._reachable(path, names)}
                if reachable not in self.states:
                    self.states.append(reachable)

    def _kept(self, inode: int, share: float) -> bytes:
        """A file's content after a power loss that keeps `share` of unflushed data."""
        now = next((path.read_bytes() for path, own in self._files() if own == inode), None)
        flushed = self.contents.get(inode, b"")
        if now is None or now == flushed:
            return flushed
        return now[: round(share * len(now))]

    def _reachable(self, path: str, names: Names) -> bool:
        return all(str(folder) in names for folder in Path(path).parents if str(folder) != ".")

    def _now(self) -> Names:
        found = sorted(self.root.rglob("*"))
        return {str(self._relative(path)): 0 if path.is_dir() else path.stat().st_ino for path in found}

    def _files(self) -> list[tuple[Path, int]]:
        return [(path, path.stat().st_ino) for path in self.root.rglob("*") if path.is_file()]

    def _relative(self, path: Path) -> Path:
        return path.relative_to(self.root)


@dataclass(frozen=True)
class Writer:
    """A kind of file: how to write and to read it. `read` returns None if a file is reported missing or damaged."""

    name: str
    write: Callable[[Path, int], None]  # writes content number n into a folder
    read: Callable[[Path], Any]
    replaces: bool = True  # may replace an older file; DVC deletes a stage's outputs before running it


def trials(settings: Settings) -> Iterator[Trial]:
    """Each of WRITERS in an empty folder, and replacing an older file."""
    for writer in WRITERS:
        for old in (False, True) if writer.replaces else (False,):
            name = f"{writer.name} {_where(old)}"
            yield Trial(name, partial(_lost, settings.folder / "power" / name.replace(" ", "-"), writer, old))


def _lost(folder: Path, writer: Writer, old: bool) -> Row:
    """Read the file after a power loss at every step of a write."""
    root = folder / "disk"
    root.mkdir(parents=True)
    if old:
        writer.write(root, 1)
    before = writer.read(root)
    disk = Disk(root)
    with disk.watched():
        writer.write(root, 2)
    after = writer.read(root)
    final = disk.final()
    outcomes = [(_read(folder / "state", state, writer), state in final) for state in disk.states]
    wrong = sum(found not in (before, after) for found, _ in outcomes)
    forgotten = sum(found != after for found, returned in outcomes if returned)
    reasons = [f"{wrong} partly written files accepted as complete"] * bool(wrong)
    reasons += [f"{forgotten} files lost after the write had returned"] * bool(forgotten)
    recovered = sum(found in ((after,) if returned else (before, after)) for found, returned in outcomes)
    return Row(
        f"power loss, {_where(old)}", writer.name, len(outcomes), recovered, wrong, forgotten, 0, "; ".join(reasons)
    )


def _where(old: bool) -> str:
    return "replacing a file" if old else "new file"


def _read(folder: Path, state: dict[str, bytes | None], writer: Writer) -> Any:
    """Recreate a state in `folder` and read it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, data in sorted(state.items()):
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)
    return writer.read(folder)


def _or_none(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader that returns None instead of an error for a missing or damaged file."""

    def guarded(folder: Path) -> Any:
        try:
            return read(folder)
        except (OSError, ValueError):
            return None

    return guarded


def _tensor(number: int) -> torch.Tensor:
    return torch.full((500,), float(number))


def _write_model(folder: Path, number: int) -> None:
    weights = {key: value + number for key, value in architectures.build(NET).state_dict().items()}
    model_store.save(folder / "unet", {"best_psnr": weights}, {"architecture": NET, "adopted": None, "number": number})


def _read_model(folder: Path) -> Any:
    weights = model_store.load(folder / "unet").state_dict()
    return [float(value.sum()) for value in weights.values()], model_store.read_card(folder / "unet")["number"]


def _write_state(folder: Path, number: int) -> None:
    checkpoint = Checkpoint(folder / ".ckpt", "fingerprint")
    with checkpoint.held():
        checkpoint.save({"step": number, "weights": _tensor(number)})


def _read_state(folder: Path) -> Any:
    with redirect_stderr(StringIO()):  # warnings about damage
        state = Checkpoint(folder / ".ckpt", "fingerprint").load()
    return state and (state["step"], state["weights"].tolist())


NET = {"arch": "dncnn", "channels": 1, "depth": 2, "features": 2, "batch_norm": False}
ROWS = [{"step": number, "value": number / 7} for number in range(40)]
WRITERS = (
    Writer(
        "text",
        lambda folder, number: files.write_text(folder / "a" / "text.md", f"{number}\n" * 400),
        _or_none(lambda folder: (folder / "a" / "text.md").read_text(encoding="utf-8")),
    ),
    Writer(
        "JSON",
        lambda folder, number: files.write_json(folder / "a" / "b" / "some.json", [number] * 400),
        _or_none(lambda folder: files.read_json(folder / "a" / "b" / "some.json")),
    ),
    Writer(
        "history",
        lambda folder, number: files.write_csv(
            folder / "unet.csv", ["step", "value", "n"], [r | {"n": number} for r in ROWS]
        ),
        _or_none(lambda folder: list(files.read_csv(folder / "unet.csv"))),
    ),
    Writer("checkpoint", _write_state, _read_state),
    Writer("model", _write_model, _or_none(_read_model), replaces=False),
)
