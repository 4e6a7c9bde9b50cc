"""Optuna studies that several processes and machines work at: the database, and which trial a process may begin.

A phase of N trials has N places, taken in turn by the trials that begin. A trial that was lost with its process is
repeated at its place, with its values. So no process has to know of the others: a study ends with N finished trials,
each place's draws are seeded by the place, and what was begun beside these is withdrawn before it costs a step.
"""

import contextlib
import os
import socket
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, Trial, TrialState

from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.processes import alive

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
HEARTBEAT_S = 60
GRACE_S = 3 * HEARTBEAT_S  # a trial of another machine without a heartbeat for so long is lost
POLL_S = 2  # between looks at what others still work on
WORKER = "worker"  # the attribute that names the host and process which a trial runs in
REPEATS = "repeats"  # the attribute that names the trial which another one repeats
ATTEMPTS = 3  # at the database: of machines that start at the same instant, one makes the tables


class Withdrawn(Exception):  # noqa: N818  (no error)
    """A trial that another process has begun, or that none has to begin any more."""


def storage(url: str | None) -> optuna.storages.RDBStorage:
    """The database at `url` (SQLAlchemy's form), or SQLite in .tune/.

    Raises ValueError, without the password, where the address is wrong, its driver is not installed, or the server
    cannot be reached.
    """
    folder = paths.shared_root() / ".tune"
    folder.mkdir(exist_ok=True)
    try:
        address = sqlalchemy.make_url(url or f"sqlite:///{folder / 'studies.db'}")
        address.get_dialect().import_dbapi()
    except (sqlalchemy.exc.ArgumentError, ValueError):  # whose texts may have the password
        raise UserError("tune.storage: no address of a database, such as postgresql://user@host/database") from None
    except ImportError:
        install = "python -m pip install -r requirements-scale.txt -c constraints.txt"
        raise UserError(f"tune.storage: {address!r}: the database's driver is not installed: {install}") from None
    try:
        return _connected(address)
    except sqlalchemy.exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        hidden = reason.replace(str(address.password), "***") if address.password else reason
        raise UserError(f"tune.storage: {address!r}: {hidden}") from None


def work(
    study: optuna.Study, trials: int, objective: Callable[[Trial, int], float], told: Callable[[FrozenTrial], None]
) -> None:
    """Begin trials until the study has that many finished ones, together with whoever else does.

    `objective` gets a trial and its place; `told` each trial that this process finished.
    """

    def placed(trial: Trial) -> float:
        there = study.get_trials(deepcopy=False)
        number = place(trial, there)
        if number >= trials or any(_lives(t) and _first(t) == _first(trial) for t in there[: trial.number]):
            raise Withdrawn
        trial.set_user_attr(WORKER, [socket.gethostname(), os.getpid()])  # in one, so that nobody sees the half of it
        return objective(trial, number)

    def tell(_: optuna.Study, trial: FrozenTrial) -> None:
        if trial.state in FINISHED:
            told(trial)

    while len(study.get_trials(deepcopy=False, states=FINISHED)) < trials:
        _repeat_lost(study, trials)
        if _open(study, trials):
            study.optimize(placed, n_trials=1, catch=(Withdrawn,), callbacks=[tell])
        else:
            time.sleep(POLL_S)


def place(trial: Trial | FrozenTrial, trials: list[FrozenTrial]) -> int:
    """A trial's place, from 0, in the study of `trials`: how many began before it, or before the one it repeats."""
    return sum(REPEATS not in other.user_attrs and other.number < _first(trial) for other in trials)


def _connected(address: sqlalchemy.URL) -> optuna.storages.RDBStorage:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return optuna.storages.RDBStorage(
                address.render_as_string(hide_password=False),
                heartbeat_interval=HEARTBEAT_S,
                grace_period=GRACE_S,
            )
        except sqlalchemy.exc.DBAPIError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(1)
    raise AssertionError("never reached")


def _open(study: optuna.Study, trials: int) -> bool:
    """Whether there is a trial to begin: a place that nobody has, or a repetition that nobody works at."""
    there = study.get_trials(deepcopy=False)
    begun = sum(REPEATS not in trial.user_attrs for trial in there)
    return begun < trials or any(trial.state == TrialState.WAITING for trial in there)


def _repeat_lost(study: optuna.Study, trials: int) -> None:
    """Queue a trial again, with its values and so from its checkpoint, where all that had its place were lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _dead(trial):
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # by another process, just now
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    there = study.get_trials(deepcopy=False)
    living = {_first(trial) for trial in there if _lives(trial)}
    last = {_first(trial): trial for trial in there if place(trial, there) < trials}
    for first, trial in last.items():
        if first not in living:
            values = trial.system_attrs.get("fixed_params", {}) | trial.params
            study.enqueue_trial(values, user_attrs={REPEATS: first})


def _dead(trial: FrozenTrial) -> bool:
    """Whether a running trial's process is gone, as far as this machine can tell."""
    if WORKER in trial.user_attrs:
        host, process = trial.user_attrs[WORKER]
        return not alive(host, process, socket.gethostname())
    assert trial.datetime_start is not None  # of a running trial
    return datetime.now() - trial.datetime_start > timedelta(seconds=GRACE_S)  # killed before it said whose it is


def _lives(trial: FrozenTrial) -> bool:
    return trial.state != TrialState.FAIL


def _first(trial: Trial | FrozenTrial) -> int:
    """The number of the trial that this one repeats, or its own."""
    return trial.user_attrs.get(REPEATS, trial.number)
