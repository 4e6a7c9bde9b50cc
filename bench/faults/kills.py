"""SIGKILL, SIGTERM and SIGINT at random moments of every stage of a `dvc repro`.

Each trial runs one stage as if for the first time, kills it, runs `dvc repro` to the end, and compares the outputs with
those of an undisturbed run. Half of the signals are sent at a random time, from before the stage starts until after DVC
has stored its outputs; the other half at a random file operation of the stage, which could leave a partial file.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import psutil

from bench.faults import _toy
from bench.faults._trial import Row, Settings, Trial

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ALL, DVC_ONLY, STAGE_ONLY = "all processes", "DVC only", "the stage only"
WAYS = ((ALL, False), (DVC_ONLY, False), (ALL, True), (STAGE_ONLY, True))  # target, whether at a file operation
FEW = ("patchify", "train@unet", "evaluate@unet")  # in the short campaign
AROUND_S = 5  # time that DVC takes before and after a stage
MARKING_S = 30  # until a killed run is marked as killed, on a busy machine
ORPHAN_S = 120  # until a stage ends whose DVC was killed


def trials(settings: Settings) -> Iterator[Trial]:
    """Cycle through stages, signals and ways for the number of kills asked for."""
    stages = FEW if settings.short else _toy.STAGES
    for number in range(settings.kills):
        stage, round_ = stages[number % len(stages)], number // len(stages)
        way = WAYS[-1 - (number + round_ // len(SIGNALS)) % len(WAYS)]
        chosen = SIGNALS[(number + round_) % len(SIGNALS)]
        yield Trial(f"{number} {stage} {chosen.name}", partial(_killed, settings, number, stage, chosen, *way))


def _killed(settings: Settings, number: int, stage: str, chosen: signal.Signals, who: str, at_change: bool) -> Row:
    """Run a stage, kill it, and run `dvc repro`."""
    project, random = _toy.finished(settings.folder / "toy"), settings.random("kill", number)
    shutil.rmtree(project.folder / ".ckpt", ignore_errors=True)
    project.forget(stage)  # otherwise DVC takes the outputs from its cache
    command = [_toy.DVC, "repro", "-s", "--no-run-cache", stage]
    if at_change:
        at = {"FAULT_AT": str(random.randint(1, project.changes[stage])), "FAULT_SIGNAL": str(int(chosen))}
        at |= {"FAULT_STAGE": stage, "FAULT_GROUP": str(int(who == ALL))}
        process = _toy.start(project.folder, *command, PYTHONPATH=_toy.HOOK, **at)
    else:
        process = _toy.start(project.folder, *command)
        time.sleep(random.uniform(0, project.seconds[stage] + AROUND_S))
        if who == ALL:
            _toy.stop(process.pid, chosen)
        else:
            process.send_signal(chosen)
    process.communicate(timeout=_toy.TIMEOUT_S) if who != DVC_ONLY else process.wait(_toy.TIMEOUT_S)
    return _recovered(project, f"{chosen.name} to {who}", stage, process)


def _recovered(project: _toy.Project, fault: str, stage: str, process: "subprocess.Popen[str]") -> Row:
    """Judge the state after the next `dvc repro`. Meanwhile an orphaned stage may still be running."""
    repairing = _toy.start(project.folder, sys.executable, "-m", "pipeline.repair")  # as `make repro`
    repaired, _ = repairing.communicate(timeout=_toy.TIMEOUT_S)
    rc, output = _toy.dvc(project.folder, "repro", "--no-run-cache")
    _wait(process.pid)
    output = repaired + output
    wrong, left = project.wrong(), _toy.leftovers(project.folder)
    again, status = _toy.dvc(project.folder, "status") if fault.endswith((DVC_ONLY, STAGE_ONLY)) else (0, "up to date")
    unclean = [] if "up to date" in status else [_toy.error_line(status)]
    lost = _lost(project, stage)
    good = rc == again == 0 and not wrong and not unclean
    warnings = [line for line in output.splitlines() if lost and line.startswith("warning: ")]
    faults = [*([_toy.error_line(output)] if rc else []), *wrong, *unclean, *left, *lost, *warnings]
    return Row(fault, stage, 1, int(good), len(wrong), len(lost), len(left), "; ".join(faults))


def _lost(project: _toy.Project, stage: str) -> list[str]:
    """Faults in the MLflow runs, once killed runs have been marked as such."""
    deadline = time.monotonic() + MARKING_S
    while (lost := _toy.lost_runs(_toy.store(project.folder), stage)) and time.monotonic() < deadline:
        time.sleep(1)
    return lost


def _wait(group: int) -> None:
    """Wait until the process group is empty; kill it after ORPHAN_S."""
    deadline = time.monotonic() + ORPHAN_S
    while any(_belongs(process, group) for process in psutil.process_iter()):
        if time.monotonic() > deadline:
            _toy.stop(group, signal.SIGKILL)
        time.sleep(0.1)


def _belongs(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
