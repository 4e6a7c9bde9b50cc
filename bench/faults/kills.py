"""SIGKILL, SIGTERM and SIGINT at random moments of every stage of a `dvc repro`.

Each trial runs one stage as if for the first time, kills it, lets the next `dvc repro` end, and compares what is there
with an undisturbed run. Half of the moments are points in time, from before the stage's process starts until DVC has
stored its outputs; the other half are changes of files by the stage, where a half-written one could be left.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import psutil

from bench.faults import _toy
from bench.faults._trial import Row, Settings, Trial
from denoiselab.app import diagnostics

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
BY_TIME, BY_CHANGE = ("all of it", "DVC alone"), ("all of it", "the stage alone")
WAYS = (*((who, False) for who in BY_TIME), *((who, True) for who in BY_CHANGE))  # who gets it, at a change of a file?
FEW = ("patchify", "train@unet", "evaluate@unet")  # of the short campaign
OF_DVC = (".dvc/tmp/rwlock", "dvc.lock")  # which it does not write whole or not at all
AROUND_S = 5  # what DVC does before and after a stage
MOURNING_S = 30  # in which a killed run is seen to be killed, on a busy machine
PATIENCE_S = 120  # for a stage that was left without its DVC


def trials(settings: Settings) -> Iterator[Trial]:
    """Every stage, signal and way in turn, whatever their number."""
    stages = FEW if settings.short else _toy.STAGES
    for number in range(settings.kills):
        stage, round_ = stages[number % len(stages)], number // len(stages)
        way = WAYS[-1 - (number + round_ // len(SIGNALS)) % len(WAYS)]
        chosen = SIGNALS[(number + round_) % len(SIGNALS)]
        yield Trial(f"{number} {stage} {chosen.name}", partial(_killed, settings, number, stage, chosen, *way))


def _killed(settings: Settings, number: int, stage: str, chosen: signal.Signals, who: str, at_change: bool) -> Row:
    """What became of one kill."""
    project, random = _toy.finished(settings.folder / "toy"), settings.random("kill", number)
    shutil.rmtree(project.folder / ".ckpt", ignore_errors=True)
    project.forget(stage)  # else DVC takes the killed stage's outputs from its cache
    command = [_toy.DVC, "repro", "-s", "--no-run-cache", stage]
    if at_change:
        at = {"FAULT_AT": str(random.randint(1, project.changes[stage])), "FAULT_SIGNAL": str(int(chosen))}
        at |= {"FAULT_STAGE": stage, "FAULT_GROUP": str(int(who == "all of it"))}
        process = _toy.start(project.folder, *command, PYTHONPATH=_toy.HOOK, **at)
    else:
        process = _toy.start(project.folder, *command)
        time.sleep(random.uniform(0, project.seconds[stage] + AROUND_S))
        if who == "all of it":
            _toy.stop(process.pid, chosen)
        else:
            process.send_signal(chosen)
    process.communicate(timeout=_toy.PATIENCE_S) if who != "DVC alone" else process.wait(_toy.PATIENCE_S)
    return _recovered(project, f"{chosen.name} to {who}", stage, process)


def _recovered(project: _toy.Project, fault: str, stage: str, process: "subprocess.Popen[str]") -> Row:
    """What the next `dvc repro` leaves. A stage that was left without its DVC may still be at work meanwhile."""
    rc, said = _toy.dvc(project.folder, "repro", "--no-run-cache")
    if unreadable := [path for path in OF_DVC if rc and not diagnostics.whole(project.folder / path)]:
        for path in unreadable:  # as docs/troubleshooting.md says
            (project.folder / path).unlink()
        said += _toy.dvc(project.folder, "repro", "--no-run-cache")[1]
    _wait(process.pid)
    wrong, left = project.wrong(), [*_toy.leftovers(project.folder), *unreadable]
    again, status = _toy.dvc(project.folder, "status") if "alone" in fault else (0, "up to date")
    unclean = [] if "up to date" in status else [_toy.said(status)]
    lost = _lost(project, stage)
    well = rc == again == 0 and not wrong and not unclean
    warned = [line for line in said.splitlines() if lost and line.startswith("warning: ")]
    faults = [*([_toy.said(said)] if rc else []), *wrong, *unclean, *left, *lost, *warned]
    return Row(fault, stage, 1, int(well), len(wrong), len(lost), len(left), "; ".join(faults))


def _lost(project: _toy.Project, stage: str) -> list[str]:
    """What is wrong with the runs, once whoever watches over them has had time to see that one was killed."""
    deadline = time.monotonic() + MOURNING_S
    while (lost := _toy.lost_runs(_toy.store(project.folder), stage)) and time.monotonic() < deadline:
        time.sleep(1)
    return lost


def _wait(group: int) -> None:
    """Until no process of the group is there."""
    deadline = time.monotonic() + PATIENCE_S
    while any(_belongs(process, group) for process in psutil.process_iter()):
        if time.monotonic() > deadline:
            _toy.stop(group, signal.SIGKILL)
        time.sleep(0.1)


def _belongs(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
