"""Damaged files: a bit flipped, cut short, or a sector of zeros, in all that one stage leaves for the next.

Each trial damages one file of a toy project and runs the stage that reads it, without DVC, which would notice most of
it first. All is well where the stage stops with one line that names the file, or where what it writes has the bytes of
an undisturbed run: some bits say nothing, and a damaged checkpoint is set aside.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random

from bench.faults import _toy
from bench.faults._trial import Row, Settings, Trial

SECTOR = 512  # bytes
BITS, CUTS, ZEROS = 8, 2, 1  # trials of a file in the long version
NO_CHECKPOINT = ("checkpoint is damaged", "resuming at step")  # one of them is said where there was one


@dataclass(frozen=True)
class Target:
    """A file that a stage leaves, and one that reads it: `stage` as DVC calls it."""

    pattern: str  # of its path in the project
    stage: str
    few: bool = False  # whether the short version has it


TARGETS = (
    Target("data/raw/manifest.csv", "patchify", few=True),
    Target("data/raw/dataset.json", "patchify"),
    Target("data/raw/train/*.png", "patchify"),
    Target("data/patches/index.csv", "add-noise"),
    Target("data/patches/patches.json", "add-noise"),
    Target("data/patches/val-*.npy", "add-noise"),
    Target("data/patches/train-*.npy", "train@unet"),
    Target("data/noisy/*/val.npy", "train@unet"),
    Target(".ckpt/*/state.pt", "train@unet", few=True),
    Target("data/raw/test/*.png", "evaluate@unet"),
    Target("data/noisy/*/index.json", "evaluate@unet"),
    Target("data/noisy/*/test-*.npy", "evaluate@unet"),
    Target("models/unet/model.json", "evaluate@unet"),
    Target("models/unet/best_psnr.safetensors", "evaluate@unet", few=True),
    Target("reports/train/unet.csv", "compare", few=True),
    Target("reports/cost/train/unet.json", "compare"),
    Target("reports/evaluate/unet/per_image.csv", "compare"),
    Target("reports/evaluate/unet/metrics.json", "compare"),
    Target("reports/evaluate/unet/alarms.json", "compare"),
)


def flipped(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def zeroed(content: bytes, random: Random) -> bytes:
    """One sector, of a file that has several."""
    place = random.randrange(len(content)) // SECTOR * SECTOR
    return content[:place] + bytes(len(content[place : place + SECTOR])) + content[place + SECTOR :]


DAMAGES: dict[str, tuple[Callable[[bytes, Random], bytes], int]] = {
    "a flipped bit": (flipped, BITS),
    "cut short": (cut, CUTS),
    "a sector of zeros": (zeroed, ZEROS),
}


def trials(settings: Settings) -> Iterator[Trial]:
    """Every file and kind of damage in turn; in the short version some files, one kind each."""
    if settings.short:
        kinds = [*DAMAGES]
        few = [target for target in TARGETS if target.few]
        chosen = [(target, kinds[n % len(kinds)], 0) for n, target in enumerate(few)]
    else:
        rounds = max(times for _, times in DAMAGES.values())
        chosen = [(t, kind, n) for n in range(rounds) for t in TARGETS for kind in DAMAGES if n < DAMAGES[kind][1]]
    for target, kind, number in chosen:
        yield Trial(f"{target.pattern} {kind} {number}", partial(_damaged, settings, target, kind, number))


def _damaged(settings: Settings, target: Target, kind: str, number: int) -> Row:
    """What the stage makes of the damaged file."""
    whole = _whole(settings.folder)
    project = replace(whole, folder=settings.folder / "damaged")
    _restore(whole.folder, project.folder)
    random = settings.random("damage", target.pattern, kind, number)
    path = random.choice(sorted(project.folder.glob(target.pattern)))
    path.write_bytes(_changed(path.read_bytes(), DAMAGES[kind][0], random))
    stage, _, model = target.stage.partition("@")
    module = f"pipeline.{stage.replace('-', '_')}"
    process = _toy.start(project.folder, sys.executable, "-m", module, *filter(None, [model]))
    said, _ = process.communicate(timeout=_toy.PATIENCE_S)
    return _judged(project, target, kind, path, process.returncode, said)


def _changed(content: bytes, damage: Callable[[bytes, Random], bytes], random: Random) -> bytes:
    """With other bytes than before: where there were zeros, a sector of zeros does no harm."""
    while (changed := damage(content, random)) == content:
        pass
    return changed


def _judged(project: _toy.Project, target: Target, kind: str, path: Path, rc: int, said: str) -> Row:
    row = partial(Row, kind, f"{target.pattern} ({target.stage})", 1)
    if rc:
        named = _toy.said(said)
        well = path.name in named and named.startswith("error: ") and "Traceback" not in said
        return row(int(well), message=named if well else said[-300:])
    here = path.relative_to(project.folder).as_posix()
    wrong = [output for output in project.wrong() if output != here]  # the file itself is as it was damaged
    unread = path.name == "state.pt" and not any(text in said for text in NO_CHECKPOINT)
    faults = [*wrong, *(["no checkpoint was found"] if unread else [])]
    warned = next((line for line in said.splitlines() if line.startswith("warning: ")), "")
    return row(int(not faults), len(faults), message="; ".join(faults) or warned.replace(f"{project.folder}/", ""))


@lru_cache(maxsize=1)
def _whole(folder: Path) -> _toy.Project:
    """The toy project, run once, in a copy that stays as it is."""
    finished = _toy.finished(folder / "toy")
    copy = folder / "whole"
    shutil.copytree(finished.folder, copy, symlinks=True)
    if not [*copy.glob(".ckpt/*/state.pt")]:
        raise RuntimeError(f"{copy}: has no checkpoint to be damaged")
    return replace(finished, folder=copy)


def _restore(whole: Path, project: Path) -> None:
    """Put `project` back as `whole` is."""
    if not project.exists():
        shutil.copytree(whole, project, symlinks=True)
    for name in (*_toy.FOLDERS, ".ckpt"):
        shutil.rmtree(project / name)
        shutil.copytree(whole / name, project / name, symlinks=True)
