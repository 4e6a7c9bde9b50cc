"""The files that DVC does not write atomically: when it is killed, only their beginning may be left."""

import re
from pathlib import Path
from typing import Any

from denoiselab.runtime import files, git

RWLOCK = Path(".dvc/tmp/rwlock")
LOCK = Path("dvc.lock")
KEPT_LOCK = Path(".dvc/tmp/dvc.lock.kept")  # dvc.lock when the last stage started
CHANGED = 2  # stages
STAGE = re.compile(r"^  (\S.*):$", re.MULTILINE)  # in dvc.lock


def is_whole(file: Path, root: Path = Path()) -> bool:
    """Whether RWLOCK or LOCK of the project in the folder `root` is whole, or missing.

    The beginning of dvc.lock is mostly valid YAML. So it must also satisfy DVC's schema, end with its line, and not be
    KEPT_LOCK without its last stages: a kill while one stage is written changes that one and cuts another.
    """
    path = root / file
    if not path.exists():
        return True
    return not _is_shortened(root) and is_lock(path) if file == LOCK else _mapping(path) is not None


def keep_lock() -> None:
    """Keep a copy of dvc.lock for pipeline.repair, in the project in the working directory."""
    if KEPT_LOCK.parent.is_dir() and LOCK.exists() and not _is_shortened(Path()):
        files.write_text(KEPT_LOCK, LOCK.read_text(encoding="utf-8"))


def is_lock(path: Path) -> bool:
    """Whether the file satisfies DVC's schema of dvc.lock."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        return bool(COMPILED_LOCKFILE_SCHEMA(_mapping(path)))
    except Invalid:
        return False


def _mapping(path: Path) -> Any:
    """The mapping in a YAML file; None if it has something else or is damaged."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return content if isinstance(content, dict) else None


def _is_shortened(root: Path) -> bool:
    """Whether dvc.lock ends within a line, or before stages that KEPT_LOCK has."""
    text, kept = (_text(root / file) for file in (LOCK, KEPT_LOCK))
    stages, before = (STAGE.split(one) for one in (text, kept))  # what precedes the first, then names and contents
    fewer = len(stages) < len(before) and stages[1::2] == before[1 : len(stages) : 2]
    changed = sum(one != other for one, other in zip(stages[2::2], before[2::2], strict=False))
    return not text.endswith("\n") or (fewer and changed <= CHANGED and text.encode() != git.committed(LOCK, root))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
