"""Power losses, by replaying the order of writes: no stage may find half a file that it takes for whole.

A disk keeps what was flushed. What a file got since may be there in part, and new names in a folder may be there or not
until the folder is flushed. Every such state after each step of a writer is laid out in a folder of its own, where the
readers are to find the old content or the whole new one, and, once the writer has returned, the new one.
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

Names = dict[str, int]  # the files (inodes) of a tree by their paths; a folder's number is 0


@dataclass
class Disk:
    """What is on the disk of a tree, `root`, whose writers are watched: `states` are those a power loss may leave."""

    root: Path
    names: Names = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    states: list[dict[str, bytes | None]] = field(default_factory=list)  # contents by path, None for a folder

    def __post_init__(self) -> None:
        """What is there has been there for long."""
        self.names = self._now()
        self.contents = {inode: path.read_bytes() for path, inode in self._files()}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note the states before and after each flush, renaming and new folder within."""
        calls = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "mkdir", "unlink")}
        with patch.dict(vars(os), {name: partial(self._noted, call) for name, call in calls.items()}):
            yield
        self._note()

    def final(self) -> list[dict[str, bytes | None]]:
        """The states that a power loss may leave from now on."""
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
        """A file's content, or a folder's names, are on the disk."""
        for path, own in self._files():
            if own == inode:
                self.contents[inode] = path.read_bytes()
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            if folder.stat().st_ino == inode:
                now = {path: own for path, own in self._now().items() if Path(path).parent == self._relative(folder)}
                kept = {path: own for path, own in self.names.items() if Path(path).parent != self._relative(folder)}
                self.names = kept | now

    def _note(self) -> None:
        """With the names on the disk and with those that are to come, whole, half and empty what was not flushed."""
        for names in (self.names, self._now()):
            for share in (0.0, 0.5, 1.0):
                state = {path: self._kept(inode, share) if inode else None for path, inode in names.items()}
                reachable = {path: data for path, data in state.items() if self._reachable(path, names)}
                if reachable not in self.states:
                    self.states.append(reachable)

    def _kept(self, inode: int, share: float) -> bytes:
        """A file's content of which that share of what was not flushed is there."""
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
    """Something that is written and read; `read` gives None for a file that is said to be missing or damaged."""

    name: str
    write: Callable[[Path, int], None]  # the content of that number into a folder
    read: Callable[[Path], Any]
    replaces: bool = True  # an older one; DVC deletes those of a stage before it runs


def trials(settings: Settings) -> Iterator[Trial]:
    """Each of WRITERS into an empty folder, and over what it wrote before."""
    for writer in WRITERS:
        for old in (False, True) if writer.replaces else (False,):
            name = f"{writer.name} {'over an older one' if old else 'for the first time'}"
            yield Trial(name, partial(_lost, settings.folder / "power" / name.replace(" ", "-"), writer, old))


def _lost(folder: Path, writer: Writer, old: bool) -> Row:
    """What a power loss at every step of a writer leaves to its reader."""
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
    reasons = [f"{wrong} half-written read as whole"] * bool(wrong)
    reasons += [f"{forgotten} lost after it was said to be written"] * bool(forgotten)
    recovered = sum(found in ((after,) if returned else (before, after)) for found, returned in outcomes)
    where = "over an older one" if old else "for the first time"
    return Row(f"power loss, {where}", writer.name, len(outcomes), recovered, wrong, forgotten, 0, "; ".join(reasons))


def _read(folder: Path, state: dict[str, bytes | None], writer: Writer) -> Any:
    """What the reader finds on such a disk."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, data in sorted(state.items()):
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)
    return writer.read(folder)


def _or_none(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader that says None where it says that a file is missing or damaged."""

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
    with redirect_stderr(StringIO()):  # says that it is damaged
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
