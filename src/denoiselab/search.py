"""Hyper-parameter search on the validation patches, with Optuna. The test images are never looked at.

A search is a study a phase, in SQLite under .tune/ or in any database that several machines share. A trial is a
training of the entry with other values, pruned where the median of the others was better at that step. Each trial's
sampler is seeded by the number of trials begun before it: a search that was killed goes on, its unfinished trial from
its checkpoint.
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from denoiselab import experiment, paths, planning, seeding, training
from denoiselab.config import Entry, Params
from denoiselab.config.tune import Phase, Range
from denoiselab.tracking.processes import alive

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
HEARTBEAT_S = 60  # a trial of another machine without one for three times as long is tried again

Tracked = Callable[[planning.Plan, int], AbstractContextManager[training.Log]]  # (plan, number of the trial) -> log


class Pruned(Exception):  # noqa: N818  (no error)
    """A trial that is not worth its further steps."""

    run_status = "FINISHED"


def run(params: Params, model: str, tracked: Tracked) -> dict[str, optuna.Study]:
    """Search every phase in turn; returns the finished studies by phase."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies: dict[str, optuna.Study] = {}
    for name, phase in params.tune.phases.items():
        fixed = best(studies)
        study = _study(params, model, name, phase)
        _retry_dead(study)
        while len(study.get_trials(deepcopy=False, states=FINISHED)) < phase.trials:
            study.optimize(partial(_value, params, model, phase, fixed, tracked), n_trials=1)
            _tell(study, name, phase)
        studies[name] = study
    return studies


def best(studies: dict[str, optuna.Study]) -> dict[str, Any]:
    """The best values of all phases. ValueError where a phase has no finished trial."""
    values: dict[str, Any] = {}
    for name, study in studies.items():
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise ValueError(f"tune.phases.{name}: every trial was pruned; raise trials or startup_trials")
        values |= {key: _plain(value) for key, value in study.best_trial.params.items()}
    return values


def changed(params: Params, model: str, values: dict[str, Any], phase: Phase | None = None) -> Params:
    """The parameters with other values in a model's block, and the budget of a phase's trials."""
    block = params.entry(model).model_dump(exclude_unset=True) | values
    if phase is not None:
        block = {k: v for k, v in block.items() if k != "epochs"} | {
            "steps": phase.steps,
            "validate_every": _every(phase),
        }
    return params.model_copy(update={"models": {**params.models, model: Entry.model_validate(block)}})


def name(params: Params, model: str, phase: str) -> str:
    """The study's name: a search over another space, with other data or settings, is another study."""
    spaces = {key: value.model_dump(mode="json") for key, value in params.tune.phases.items()}
    plan = planning.plan(changed(params, model, {}), model)
    text = json.dumps([spaces, params.tune.startup_trials, plan.card()], sort_keys=True)
    return f"{model}-{phase}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _study(params: Params, model: str, phase_name: str, phase: Phase) -> optuna.Study:
    folder = paths.shared_root() / ".tune"
    folder.mkdir(exist_ok=True)
    storage = optuna.storages.RDBStorage(
        params.tune.storage or f"sqlite:///{folder / 'studies.db'}",
        heartbeat_interval=HEARTBEAT_S,
        grace_period=3 * HEARTBEAT_S,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
    )
    return optuna.create_study(
        storage=storage,
        study_name=name(params, model, phase_name),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(params.tune.startup_trials, n_warmup_steps=_every(phase)),
    )


def _every(phase: Phase) -> int:
    """Steps between the validations of a trial."""
    return max(1, phase.steps // phase.validations)


def _retry_dead(study: optuna.Study) -> None:
    """Trials of this machine whose process is gone are tried again with their values, so from their checkpoint."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        told = trial.user_attrs
        if "host" in told and not alive(told["host"], told.get("process"), socket.gethostname()):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"retries": trial.number})


def _value(params: Params, model: str, phase: Phase, fixed: dict[str, Any], tracked: Tracked, trial: Trial) -> float:
    """Train with a trial's values; the best validation score."""
    trial.set_user_attr("host", socket.gethostname())
    trial.set_user_attr("process", os.getpid())
    _seed(trial, params)
    values = {key: _plain(_suggest(trial, key, space)) for key, space in phase.space.items()}
    plan = planning.plan(changed(params, model, fixed | values, phase), model)
    try:
        with tracked(plan, trial.number) as log:
            result = experiment.train(plan, _reporting(trial, log))
    except Pruned:
        raise optuna.TrialPruned from None
    except ValueError as error:  # a loss that is not finite, say: a bad trial, not the end of the search
        trial.set_user_attr("error", str(error))
        raise optuna.TrialPruned from None
    return next(iter(result.best.values()))["value"]


def _seed(trial: Trial, params: Params) -> None:
    """Seed the sampler by how many trials began before this one and live: machines that start at once draw others."""
    there = trial.study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
    begun = sum(other.number < trial.number for other in there)
    trial.study.sampler = optuna.samplers.TPESampler(
        seed=seeding.key(params.seed, "tune", begun) % 2**32, n_startup_trials=params.tune.startup_trials
    )


def _reporting(trial: Trial, log: training.Log) -> training.Log:
    """`log`, and the first validation score to Optuna, which may end the trial."""

    def told(step: int, row: dict[str, float]) -> None:
        log(step, row)
        trial.report(next(value for key, value in row.items() if key.startswith("val_")), step)
        if trial.should_prune():
            raise Pruned

    return told


def _suggest(trial: Trial, key: str, space: Any) -> Any:
    if not isinstance(space, Range):
        return json.loads(trial.suggest_categorical(key, [json.dumps(choice) for choice in space.choices]))
    if isinstance(space.low, int) and isinstance(space.high, int):
        return trial.suggest_int(key, space.low, space.high, log=space.log)
    return trial.suggest_float(key, space.low, space.high, log=space.log)


def _plain(value: Any) -> Any:
    """A value as a params file has it: choices are stored as JSON, numbers need no more than four digits."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _tell(study: optuna.Study, phase: str, settings: Phase) -> None:
    done: list[FrozenTrial] = study.get_trials(deepcopy=False, states=FINISHED)
    last = done[-1]
    value = "pruned" if last.state == TrialState.PRUNED else f"{last.value:.3f}"
    print(f"{phase}: trial {len(done)} of {settings.trials}: {value} with {last.params}", file=sys.stderr)
