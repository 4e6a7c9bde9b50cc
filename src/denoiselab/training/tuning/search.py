"""Hyper-parameter search on the validation patches, with Optuna. The test images are never looked at.

A search is a study a phase, in SQLite under .tune/ or in any database that several machines share. A trial is a
training of the entry with other values, pruned where the median of the others was better at that step. Each trial's
sampler is seeded by its place in the study: a search that was killed goes on, its unfinished trial from its checkpoint.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from denoiselab.config import Entry, Params, Train
from denoiselab.config.tune import Phase, Range
from denoiselab.runtime import seeding
from denoiselab.runtime.errors import UserError
from denoiselab.training import jobs, loop, runner
from denoiselab.training.tuning import studies
from denoiselab.training.tuning.studies import FINISHED

Tracked = Callable[[jobs.Job, int], AbstractContextManager[loop.Log]]  # (job, number of the trial) -> log


class Pruned(Exception):  # noqa: N818  (no error)
    """A trial that is not worth its further steps."""

    run_status = "FINISHED"


def run(params: Params, model: str, tracked: Tracked) -> dict[str, optuna.Study]:
    """Search every phase in turn; returns the finished studies by phase."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, optuna.Study] = {}
    storage = studies.storage(params.tune.storage)
    for name, phase in params.tune.phases.items():
        study = _study(params, model, name, storage)
        objective = partial(_value, params, model, phase, best(found), tracked)
        studies.work(study, phase.trials, objective, partial(_tell, study, name, phase))
        found[name] = study
    return found


def settings(params: Params, model: str) -> Train:
    """Those of the model's training. ValueError where they ask for several processes: a trial has one."""
    found = params.training(model)
    if found.launcher:
        raise UserError(
            f"train.launcher: {found.launcher!r}, but a search trains each trial in one process: make it null; "
            "searches started side by side share the trials out, by tune.storage also on several machines"
        )
    return found


def best(found: dict[str, optuna.Study]) -> dict[str, Any]:
    """The best values of all phases. ValueError where a phase has no finished trial."""
    values: dict[str, Any] = {}
    for name, study in found.items():
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise UserError(f"tune.phases.{name}: every trial was pruned; raise trials or startup_trials")
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
    job = jobs.resolve(changed(params, model, {}), model)
    text = json.dumps([spaces, params.tune.startup_trials, job.card()], sort_keys=True)
    return f"{model}-{phase}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _study(params: Params, model: str, phase: str, storage: optuna.storages.BaseStorage) -> optuna.Study:
    settings = params.tune
    return optuna.create_study(
        storage=storage,
        study_name=name(params, model, phase),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(settings.startup_trials, n_warmup_steps=_every(settings.phases[phase])),
    )


def _every(phase: Phase) -> int:
    """Steps between the validations of a trial."""
    return max(1, phase.steps // phase.validations)


def _value(
    params: Params, model: str, phase: Phase, fixed: dict[str, Any], tracked: Tracked, trial: Trial, place: int
) -> float:
    """Train with a trial's values; the best validation score."""
    _seed(trial, place, params)
    values = {key: _plain(_suggest(trial, key, space)) for key, space in phase.space.items()}
    job = jobs.resolve(changed(params, model, fixed | values, phase), model)
    try:
        with tracked(job, trial.number) as log:
            result = runner.train(job, _reporting(trial, log))
    except Pruned:
        raise optuna.TrialPruned from None
    except ValueError as error:  # a loss that is not finite, say: a bad trial, not the end of the search
        trial.set_user_attr("error", str(error))
        raise optuna.TrialPruned from None
    return next(iter(result.best.values()))["value"]


def _seed(trial: Trial, place: int, params: Params) -> None:
    """Seed the sampler by the trial's place in the study, which no other trial has, whatever process began it."""
    trial.study.sampler = optuna.samplers.TPESampler(
        seed=seeding.key(params.seed, "tune", place) % 2**32, n_startup_trials=params.tune.startup_trials
    )


def _reporting(trial: Trial, log: loop.Log) -> loop.Log:
    """`log`, and the first validation score to Optuna, which may end the trial."""

    def report(step: int, row: dict[str, float]) -> None:
        log(step, row)
        trial.report(next(value for key, value in row.items() if key.startswith("val_")), step)
        if trial.should_prune():
            raise Pruned

    return report


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


def _tell(study: optuna.Study, phase: str, settings: Phase, trial: FrozenTrial) -> None:
    done = len(study.get_trials(deepcopy=False, states=FINISHED))
    value = "pruned" if trial.state == TrialState.PRUNED else f"{trial.value:.3f}"
    print(f"{phase}: trial {done} of {settings.trials}: {value} with {trial.params}", file=sys.stderr)
