"""Hyper-parameter search on the validation patches, with Optuna. Test images are not used.

Each phase is one Optuna study, in SQLite under .tune/ or in a database shared by several machines. A trial trains the
entry with other values; it is pruned if its score is below the median of the other trials at the same step. The
sampler is seeded by the trial's place in the study. A killed search resumes, its unfinished trial from its checkpoint.
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

from denoiselab import config
from denoiselab.config import Entry, Params, Train
from denoiselab.config.tune import Phase, Range
from denoiselab.runtime import seeding
from denoiselab.runtime.errors import DivergedError, UserError
from denoiselab.training import jobs, loop, runner
from denoiselab.training.tuning import studies
from denoiselab.training.tuning.studies import FINISHED

Tracked = Callable[[jobs.Job, int], AbstractContextManager[loop.Log]]  # (job, trial number) -> log


class Pruned(Exception):  # noqa: N818  (no error)
    """Raised inside a trial to stop it early."""

    run_status = "FINISHED"


def run(params: Params, model: str, tracked: Tracked) -> dict[str, optuna.Study]:
    """Run the phases one after another; returns the finished studies by phase."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, optuna.Study] = {}
    storage = studies.storage(params.tune.storage)
    for name, phase in params.tune.phases.items():
        study = _study(params, model, name, storage)
        objective = partial(_value, params, model, phase, best(found), tracked)
        studies.run_trials(study, phase.trials, objective, partial(_tell, study, name, phase))
        found[name] = study
    return found


def settings(params: Params, model: str) -> Train:
    """Training settings of the model. UserError if they require several processes: a trial runs in one."""
    found = params.training(model)
    if found.launcher:
        raise UserError(
            f"train.launcher: {found.launcher!r}, but a search trains each trial in one process: set it to null; "
            "searches that run at the same time share the trials, with tune.storage also across machines"
        )
    return found


def best(found: dict[str, optuna.Study]) -> dict[str, Any]:
    """The best values of all phases. UserError if a phase has no completed trial."""
    values: dict[str, Any] = {}
    for name, study in found.items():
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise UserError(f"tune.phases.{name}: every trial was pruned; raise trials or startup_trials")
        values |= {key: _plain(value) for key, value in study.best_trial.params.items()}
    return values


def changed(params: Params, model: str, values: dict[str, Any], phase: Phase | None = None) -> Params:
    """`params` with `values` in the model's block and, given a phase, with the number of steps of its trials."""
    block = params.entry(model).model_dump(exclude_unset=True) | values
    if phase is not None:
        block = {k: v for k, v in block.items() if k != "epochs"} | {
            "steps": phase.steps,
            "validate_every": _every(phase),
        }
    return params.model_copy(
        update={"models": {**params.models, model: config.check(Entry, block, where=f"models.{model}.")}}
    )


def name(params: Params, model: str, phase: str) -> str:
    """Name of the study. It contains a hash of search space, data and settings: changing one starts a new study."""
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
    """Number of steps between validations of a trial."""
    return max(1, phase.steps // phase.validations)


def _value(
    params: Params, model: str, phase: Phase, fixed: dict[str, Any], tracked: Tracked, trial: Trial, place: int
) -> float:
    """Train with the values of a trial; returns the best validation score."""
    _seed(trial, place, params)
    values = {key: _plain(_suggest(trial, key, space)) for key, space in phase.space.items()}
    job = jobs.resolve(changed(params, model, fixed | values, phase), model)
    try:
        with tracked(job, trial.number) as log:
            result = runner.train(job, _reporting(trial, log))
    except Pruned:
        raise optuna.TrialPruned from None
    except UserError as error:
        trial.set_user_attr(studies.ERROR, str(error))
        if isinstance(error, DivergedError) or studies.has_failed_before(trial):
            raise optuna.TrialPruned from None
        raise UserError(f"{error}; the next search tries this trial again, once") from None
    return next(iter(result.best.values()))["value"]


def _seed(trial: Trial, place: int, params: Params) -> None:
    """Seed the sampler by the trial's place in the study, which is unique and independent of the process."""
    trial.study.sampler = optuna.samplers.TPESampler(
        seed=seeding.key(params.seed, "tune", place) % 2**32, n_startup_trials=params.tune.startup_trials
    )


def _reporting(trial: Trial, log: loop.Log) -> loop.Log:
    """A `log` that also reports the first validation score to Optuna, which may prune the trial."""

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
    """A value as written to a params file: choices are decoded from JSON, floats have four significant digits."""
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
