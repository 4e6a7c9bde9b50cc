"""Optuna studies shared by several processes and machines: the database, and the distribution of trials.

A phase of N trials has N places, numbered in the order in which trials start. If a process dies, its trial is repeated
at the same place, with the same values. Processes communicate only through the database: the study ends with N
finished trials, random draws are seeded by the place, and surplus trials are cancelled before their first step.
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
GRACE_S = 3 * HEARTBEAT_S  # a trial on another machine counts as lost after this time without a heartbeat
POLL_S = 2  # between checks while other processes finish their trials
WORKER = "worker"  # trial attribute: host and process id
REPEATS = "repeats"  # trial attribute: number of the trial that it repeats
ERROR = "error"  # trial attribute: the message that ended it
ATTEMPTS = 3  # to connect: if several machines start at once, one creates the tables and the others fail at first


class SurplusTrial(Exception):  # noqa: N818  (no error)
    """A surplus trial: another process runs it, or all places are taken."""


def storage(url: str | None) -> optuna.storages.RDBStorage:
    """The database at `url` (SQLAlchemy's form), or SQLite in .tune/.

    UserError, without the password, if the address is invalid, its driver is not installed, or the server cannot be
    reached.
    """
    folder = paths.shared_root() / ".tune"
    folder.mkdir(exist_ok=True)
    try:
        address = sqlalchemy.make_url(url or f"sqlite:///{folder / 'studies.db'}")
        address.get_dialect().import_dbapi()
    except (sqlalchemy.exc.ArgumentError, ValueError):  # their messages may contain the password
        raise UserError("tune.storage: not a database URL such as postgresql://user@host/database") from None
    except ImportError:
        install = "python -m pip install -r requirements/scale.txt -c constraints.txt"
        raise UserError(f"tune.storage: {address!r}: the database's driver is not installed: {install}") from None
    try:
        return _connected(address)
    except sqlalchemy.exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        hidden = reason.replace(str(address.password), "***") if address.password else reason
        raise UserError(f"tune.storage: {address!r}: {hidden}") from None


def run_trials(
    study: optuna.Study, trials: int, objective: Callable[[Trial, int], float], told: Callable[[FrozenTrial], None]
) -> None:
    """Run trials until the study has `trials` finished ones, counting those of other processes.

    `objective(trial, place)` returns the score; `told` is called with each trial that this process finished.
    """

    def placed(trial: Trial) -> float:
        there = study.get_trials(deepcopy=False)
        number = trial_index(trial, there)
        if number >= trials or any(_lives(t) and _first(t) == _first(trial) for t in there[: trial.number]):
            raise SurplusTrial
        trial.set_user_attr(WORKER, [socket.gethostname(), os.getpid()])  # one attribute: atomic
        return objective(trial, number)

    def tell(_: optuna.Study, trial: FrozenTrial) -> None:
        if trial.state in FINISHED:
            told(trial)

    while len(study.get_trials(deepcopy=False, states=FINISHED)) < trials:
        _repeat_lost(study, trials)
        if _open(study, trials):
            study.optimize(placed, n_trials=1, catch=(SurplusTrial,), callbacks=[tell])
        else:
            time.sleep(POLL_S)


def trial_index(trial: Trial | FrozenTrial, trials: list[FrozenTrial]) -> int:
    """Place of a trial among `trials`, from 0: the number of trials before it, or before the one that it repeats."""
    return sum(REPEATS not in other.user_attrs and other.number < _first(trial) for other in trials)


def has_failed_before(trial: Trial) -> bool:
    """Whether an error has ended an earlier attempt at this trial's place."""
    earlier = trial.study.get_trials(deepcopy=False)[: trial.number]
    return any(ERROR in other.user_attrs and _first(other) == _first(trial) for other in earlier)


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
    """Whether a trial can be started: a place is free, or a repetition is waiting."""
    there = study.get_trials(deepcopy=False)
    begun = sum(REPEATS not in trial.user_attrs for trial in there)
    return begun < trials or any(trial.state == TrialState.WAITING for trial in there)


def _repeat_lost(study: optuna.Study, trials: int) -> None:
    """If all trials at a place were lost, queue one again, with its values, so that its checkpoint is resumed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _dead(trial):
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another process did so just now
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    there = study.get_trials(deepcopy=False)
    living = {_first(trial) for trial in there if _lives(trial)}
    last = {_first(trial): trial for trial in there if trial_index(trial, there) < trials}
    for first, trial in last.items():
        if first not in living:
            values = trial.system_attrs.get("fixed_params", {}) | trial.params
            study.enqueue_trial(values, user_attrs={REPEATS: first})


def _dead(trial: FrozenTrial) -> bool:
    """Whether the process of a running trial has ended, as far as this machine can tell."""
    if WORKER in trial.user_attrs:
        host, process = trial.user_attrs[WORKER]
        return not alive(host, process, socket.gethostname())
    assert trial.datetime_start is not None  # of a running trial
    return datetime.now() - trial.datetime_start > timedelta(seconds=GRACE_S)  # killed before WORKER was set


def _lives(trial: FrozenTrial) -> bool:
    return trial.state != TrialState.FAIL


def _first(trial: Trial | FrozenTrial) -> int:
    """Number of the trial that this one repeats, otherwise its own."""
    return trial.user_attrs.get(REPEATS, trial.number)
