"""Damaged files: a flipped bit, truncation, or a sector of zeros in the files that one stage writes for the next.

Each trial damages one file of a toy project and runs the stage that reads it, without DVC, which would detect most
damage first. The stage must either stop with one line that names the file, or write the same bytes as an undisturbed
run: some bits have no effect, and a damaged checkpoint is set aside.
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
BITS, CUTS, ZEROS = 8, 2, 1  # trials per file in a full campaign
CHECKPOINT_FOUND = ("checkpoint is damaged", "resuming at step")  # one of these is printed if a checkpoint is found


@dataclass(frozen=True)
class Target:
    """A file to damage, and the stage (as in dvc.yaml) that reads it."""

    pattern: str  # path in the project
    stage: str
    few: bool = False  # also in the short campaign


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
    """Overwrite one sector with zeros."""
    place = random.randrange(len(content)) // SECTOR * SECTOR
    return content[:place] + bytes(len(content[place : place + SECTOR])) + content[place + SECTOR :]


DAMAGES: dict[str, tuple[Callable[[bytes, Random], bytes], int]] = {
    "a flipped bit": (flipped, BITS),
    "cut short": (cut, CUTS),
    "a sector of zeros": (zeroed, ZEROS),
}


def trials(settings: Settings) -> Iterator[Trial]:
    """Every file with every kind of damage; in the short campaign a few files with one kind each."""
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
    """Damage a file and run the stage that reads it."""
    intact = _intact(settings.folder)
    project = replace(intact, folder=settings.folder / "damaged")
    _restore(intact.folder, project.folder)
    random = settings.random("damage", target.pattern, kind, number)
    path = random.choice(sorted(project.folder.glob(target.pattern)))
    path.write_bytes(_changed(path.read_bytes(), DAMAGES[kind][0], random))
    stage, _, model = target.stage.partition("@")
    module = f"pipeline.{stage.replace('-', '_')}"
    process = _toy.start(project.folder, sys.executable, "-m", module, *filter(None, [model]))
    output, _ = process.communicate(timeout=_toy.TIMEOUT_S)
    return _judged(project, target, kind, path, process.returncode, output)


def _changed(content: bytes, damage: Callable[[bytes, Random], bytes], random: Random) -> bytes:
    """Apply the damage until the content differs: zeroing a sector of zeros changes nothing."""
    while (changed := damage(content, random)) == content:
        pass
    return changed


def _judged(project: _toy.Project, target: Target, kind: str, path: Path, rc: int, output: str) -> Row:
    row = partial(Row, kind, f"{target.pattern} ({target.stage})", 1)
    if rc:
        error = _toy.error_line(output)
        good = path.name in error and error.startswith("error: ") and "Traceback" not in output
        return row(int(good), message=error if good else output[-300:])
    damaged = path.relative_to(project.folder).as_posix()
    wrong = [name for name in project.wrong() if name != damaged]
    unread = path.name == "state.pt" and not any(text in output for text in CHECKPOINT_FOUND)
    faults = [*wrong, *(["no checkpoint was found"] if unread else [])]
    warning = next((line for line in output.splitlines() if line.startswith("warning: ")), "")
    return row(int(not faults), len(faults), message="; ".join(faults) or warning.replace(f"{project.folder}/", ""))


@lru_cache(maxsize=1)
def _intact(folder: Path) -> _toy.Project:
    """An intact copy of the finished toy project."""
    finished = _toy.finished(folder / "toy")
    copy = folder / "intact"
    shutil.copytree(finished.folder, copy, symlinks=True)
    if not [*copy.glob(".ckpt/*/state.pt")]:
        raise RuntimeError(f"{copy}: no checkpoint to damage")
    return replace(finished, folder=copy)


def _restore(intact: Path, project: Path) -> None:
    """Make `project` a copy of `intact` again."""
    if not project.exists():
        shutil.copytree(intact, project, symlinks=True)
    for name in (*_toy.FOLDERS, ".ckpt"):
        shutil.rmtree(project / name)
        shutil.copytree(intact / name, project / name, symlinks=True)
