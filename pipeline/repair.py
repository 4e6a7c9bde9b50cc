"""Repair the files that DVC does not write atomically, after it was killed: `python -m pipeline.repair`.

`make repro` and `denoiselab doctor --repair` run it. `.dvc/tmp/rwlock` is deleted. `dvc.lock` comes from the copy that
each stage keeps when it starts, so only the stage that ended when DVC was killed runs again; or else from Git.
"""

from contextlib import suppress
from pathlib import Path

import psutil

from denoiselab.runtime import dvc_files, files, git
from denoiselab.runtime.dvc_files import KEPT_LOCK, LOCK, RWLOCK
from denoiselab.runtime.errors import UserError
from pipeline import run


def main() -> None:
    damaged = [path for path in (RWLOCK, LOCK) if not dvc_files.is_whole(path)]
    if not damaged:
        return
    if running := _dvc_here():
        raise UserError(f"{damaged[0]} is incomplete, and dvc (process {running}) is running here: wait until it ends")
    if RWLOCK in damaged:
        RWLOCK.unlink()
        print(f"{RWLOCK} was incomplete, because DVC was killed: deleted")
    if LOCK in damaged:
        print(f"{LOCK} was incomplete, because DVC was killed: {_restored()}")


def _restored() -> str:
    """Restore dvc.lock; returns from where."""
    if KEPT_LOCK.exists() and dvc_files.is_lock(KEPT_LOCK):
        files.write_text(LOCK, KEPT_LOCK.read_text(encoding="utf-8"))
        return "restored as it was when the last stage started"
    if committed := git.committed(LOCK):
        files.write_text(LOCK, committed.decode("utf-8"))
        return "restored from Git; stages that ran since then take their results from checkpoints and DVC's cache"
    LOCK.unlink()
    return "deleted; all stages run again, with finished training from the checkpoints"


def _dvc_here() -> int | None:
    """The process number of a DVC that works in this folder: the command, `python -m dvc`, or a worker of its queue."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()[:3]
            command = {Path(word).name for word in words[:2]} | {"/".join(Path(word).parts[-2:]) for word in words}
            named = not command.isdisjoint({"dvc", "dvc/__main__.py"}) or words[1:] == ["-m", "dvc"]
            if named and Path(process.cwd()).is_relative_to(Path.cwd()):
                return process.pid
    return None


if __name__ == "__main__":
    run(main)
