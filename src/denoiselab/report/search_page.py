"""Results of a hyper-parameter search: the best trial as a block of conf/model/, and a page with plots."""

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from denoiselab import architectures
from denoiselab.config import Params, yaml_files
from denoiselab.report.figures import search as search_figures
from denoiselab.runtime import files, paths
from denoiselab.training.tuning import search
from denoiselab.training.tuning.studies import FINISHED


def write(params: Params, model: str, studies: dict[str, optuna.Study]) -> Path:
    """Write conf/model/<model>_tuned.yaml and reports/tune/<model>.md with its plots; returns the page."""
    values = search.best(studies)
    _write_winner(params, model, values, studies)
    folder = paths.tuning()
    rows = [_phase(params, model, name, study, folder) for name, study in studies.items()]
    page = folder / f"{model}.md"
    files.write_text(page, "\n".join([*_head(params, model, values), *rows]))
    return page


def _write_winner(params: Params, model: str, values: dict[str, Any], studies: dict[str, optuna.Study]) -> None:
    """The entry with the values found; its training budget is unchanged."""
    block = params.entry(model).model_dump(exclude_unset=True, mode="json") | values
    block["channels"] = "${data.channels}"
    trials = " + ".join(str(len(study.get_trials(deepcopy=False, states=FINISHED))) for study in studies.values())
    comment = f"{model}, tuned by `make tune`: {trials} trials on validation patches of "
    comment += f"{params.data.name} under {params.noise.name}; see reports/tune/{model}.md."
    yaml_files.write(paths.tuned(model), f"{model}_tuned", comment, block)


def _head(params: Params, model: str, values: dict[str, Any]) -> list[str]:
    found = ", ".join(f"{key} {value}" for key, value in values.items())
    return [
        f"# Search: {model}\n",
        f"Validated on patches of `{params.data.name}` with noise `{params.noise.name}`, seed {params.seed}; test "
        "images were not used. Trials below the median of the others at a validation were pruned.\n",
        f"Best: {found}. To use it: `dvc exp run -S model={model}_tuned`.\n",
    ]


def _phase(params: Params, model: str, name: str, study: optuna.Study, folder: Path) -> str:
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    history = [(n, t.value if t.state == TrialState.COMPLETE else None) for n, t in enumerate(trials, 1)]
    task = getattr(architectures.outline(params.entry(model).architecture()), "task", "restore")
    score = "accuracy" if task == "classify" else "PSNR (dB)"
    search_figures.history(history, score, folder / f"{model}-{name}-history.png")
    lines = [f"## Phase `{name}`\n", f"{len(trials)} trials of {params.tune.phases[name].steps} steps, "]
    lines[-1] += f"{len(complete)} completed; best validation {score} {study.best_value:.3f}.\n"
    lines.append(f"![Validation {score} by trial]({model}-{name}-history.png)\n")
    if len(complete) > 2 and len(study.best_params) > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        search_figures.importance(shares, folder / f"{model}-{name}-importance.png")
        lines.append(f"![Share of the variance explained by each parameter]({model}-{name}-importance.png)\n")
    keys = list(params.tune.phases[name].space)
    lines.append(f"| trial | {' | '.join(keys)} | {score} |\n|--:|{'--:|' * len(keys)}--:|")
    ranked = sorted(enumerate(trials, 1), key=lambda item: -_score(item[1]))
    lines += [f"| {n} | {' | '.join(_cell(t.params[k]) for k in keys)} | {_value(t)} |" for n, t in ranked]
    return "\n".join(lines) + "\n"


def _score(trial: optuna.trial.FrozenTrial) -> float:
    return trial.value if trial.state == TrialState.COMPLETE and trial.value is not None else float("-inf")


def _value(trial: optuna.trial.FrozenTrial) -> str:
    if trial.state == TrialState.COMPLETE:
        return f"{trial.value:.3f}"
    return trial.user_attrs.get("error", f"pruned at step {trial.last_step}")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).strip('"')
