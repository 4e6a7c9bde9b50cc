"""The search: seeded, resumed after a kill, told to MLflow as one run with nested trials; the winner composes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import sqlalchemy
import yaml

from denoiselab import config
from denoiselab.config import Params
from denoiselab.config.tune import Phase
from denoiselab.runtime.errors import DivergedError, UserError
from denoiselab.training.tuning import search, studies
from pipeline import tune
from tests import projects
from tests.projects import call, compose, environment, make_project, reproduce, start

SPACE = {
    "lr": {"low": 0.0005, "high": 0.005, "log": True},
    "blocks": {"low": 1, "high": 2},
    "loss": {"choices": ["mse", "l1"]},
    "widths": {"choices": [[8, 16], [16, 24]]},
}
TINY = [*projects.TINY, "model=unet", "train.val_patches=2"]


def tuned(tree: dict, **changes) -> Params:
    tree["tune"] = {"model": "unet", "storage": None, "startup_trials": 4, "phases": {"all": PHASE}} | changes
    return Params.model_validate(tree)


PHASE = {"trials": 6, "steps": 10, "validations": 2, "space": SPACE}


def test_values_change_the_block_and_its_budget(tree):
    params = tuned(tree)
    changed = search.changed(params, "unet", {"lr": 0.001, "widths": [8, 16]}, phase=Phase(**PHASE))
    assert changed.training("unet").lr == 0.001
    assert changed.training("unet").steps == 10
    assert changed.entry("unet").architecture()["widths"] == [8, 16]
    assert changed.training("dncnn") == params.training("dncnn")
    tree["models"]["unet"]["epochs"] = 3
    assert search.changed(tuned(tree), "unet", {}, phase=Phase(**PHASE)).training("unet").epochs is None


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (PHASE | {"trials": 0}, "tune.phases.all.trials: input should be greater than or equal to 1"),
        (PHASE | {"space": {}}, "tune.phases.all.space: needs 1 value or more, has 0"),
        (PHASE | {"space": {"lr": {"low": 1, "high": 1}}}, "low must be below high, and above 0 with log, not 1 and 1"),
    ],
)
def test_mistakes_are_named(tree, tmp_path, phase, said):
    tree["tune"]["phases"] = {"all": phase}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(UserError, match=r"params\.yaml") as error:
        config.load(path)
    assert said in str(error.value)


def test_several_processes_for_a_trial_are_refused(tree, tmp_path, monkeypatch):
    tree["train"]["launcher"] = "torchrun --nproc-per-node=2"
    tuned(tree)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^train.launcher: 'torchrun .*one process: set it to null; .* tune.storage"):
        tune.main()


def test_a_place_is_drawn_by_itself_alone(tree):
    params = tuned(tree)
    study = optuna.create_study(direction="maximize")

    def drawn(place: int) -> float:
        trial = study.ask()
        search._seed(trial, place, params)
        return trial.suggest_float("lr", 0.0005, 0.005)

    first, second = drawn(0), drawn(1)
    assert first != second
    assert drawn(0) == first


@pytest.mark.parametrize(
    ("second", "state"),
    [(None, optuna.trial.TrialState.COMPLETE), (UserError("still"), optuna.trial.TrialState.PRUNED)],
)
def test_an_error_that_may_pass_ends_the_search_and_the_next_repeats_the_trial(
    tree, tmp_path, monkeypatch, second, state
):
    params = tuned(tree)
    results = iter([UserError("the GPU's memory is full"), second])

    def train(job, log):
        if error := next(results):
            raise error
        return SimpleNamespace(best={"psnr": {"value": 30.0}})

    monkeypatch.setattr(search.runner, "train", train)
    monkeypatch.setattr(search.jobs, "resolve", lambda *job: None)
    study = optuna.create_study(direction="maximize", storage=f"sqlite:///{tmp_path / 'studies.db'}")
    log = nullcontext(lambda step, row: None)
    objective = partial(search._value, params, "unet", params.tune.phases["all"], {}, lambda job, number: log)
    with pytest.raises(UserError, match="the GPU's memory is full"):
        studies.run_trials(study, 1, objective, lambda trial: None)
    studies.run_trials(study, 1, objective, lambda trial: None)
    first, repeated = study.get_trials()
    assert repeated.params == first.params
    assert repeated.state == state


def test_a_training_that_diverges_is_pruned(tree, tmp_path, monkeypatch):
    params, study = tuned(tree), optuna.create_study(direction="maximize")

    def train(job, log):
        raise DivergedError("training diverged")

    monkeypatch.setattr(search.runner, "train", train)
    monkeypatch.setattr(search.jobs, "resolve", lambda *job: None)
    log = nullcontext(lambda step, row: None)
    objective = partial(search._value, params, "unet", params.tune.phases["all"], {}, lambda job, number: log)
    study.optimize(lambda trial: objective(trial, 0), n_trials=1)
    assert [trial.state for trial in study.get_trials()] == [optuna.trial.TrialState.PRUNED]


def set_search(project: Path, storage: str | None) -> None:
    """Compose params.yaml anew, with a small search of two phases."""
    compose(project, *TINY)
    path = project / "params.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    later = {"trials": 2, "steps": 10, "validations": 2, "space": {"batch": {"low": 2, "high": 4}}}
    tree["tune"] = {"model": "unet", "storage": storage, "startup_trials": 4, "phases": {"all": PHASE, "later": later}}
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("search"))
    set_search(folder, None)
    reproduce(folder, to="add-noise")
    return folder


def trials(project: Path) -> list[tuple]:
    import optuna

    storage = f"sqlite:///{project / '.tune' / 'studies.db'}"
    found = []
    for summary in sorted(optuna.get_all_study_summaries(storage=storage), key=lambda s: s.study_name):
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        done = study.get_trials(states=studies.FINISHED)
        found += [(summary.study_name, trial.params, trial.state, trial.intermediate_values) for trial in done]
    return found


@pytest.mark.slow
def test_a_killed_search_goes_on_and_finds_what_an_undisturbed_one_finds(project):
    call(project, sys.executable, "-m", "pipeline.tune")
    undisturbed, block = trials(project), (project / "conf/model/unet_tuned.yaml").read_text(encoding="utf-8")
    assert len(undisturbed) == 8
    for made in (".tune", ".ckpt", "mlartifacts", "mlflow.db"):
        path = project / made
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (project / "conf/model/unet_tuned.yaml").unlink()

    process = start(project, sys.executable, "-m", "pipeline.tune")
    deadline = time.monotonic() + 120
    while len(list((project / ".ckpt").glob("*/state.pt"))) < 2:  # in the second trial
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(trials(project)) < 8

    output = call(project, sys.executable, "-m", "pipeline.tune")
    assert "all: trial 6 of 6" in output
    assert trials(project) == undisturbed
    assert (project / "conf/model/unet_tuned.yaml").read_text(encoding="utf-8") == block

    page = (project / "reports/tune/unet.md").read_text(encoding="utf-8")
    for name in ("history", "importance"):
        assert f"unet-all-{name}.png" in page
        assert (project / f"reports/tune/unet-all-{name}.png").stat().st_size > 5000


@pytest.mark.slow
def test_every_trial_is_a_run_under_one_parent(project):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("denoiselab").experiment_id])
    parent = next(run for run in found if run.data.tags.get("kind") == "search")
    nested = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(nested) == 8
    assert {run.info.status for run in [parent, *nested]} == {"FINISHED"}
    assert all(client.get_metric_history(run.info.run_id, "val/psnr") for run in nested)
    assert [a.path for a in client.list_artifacts(parent.info.run_id, "search")]


@pytest.mark.slow
def test_the_winner_is_a_model_to_choose(project):
    best = max((t for t in trials(project) if t[2].name == "COMPLETE"), key=lambda t: max(t[3].values()))
    compose(project, *TINY, "model=unet_tuned")
    params = config.load(project / "params.yaml")
    assert params.training("unet_tuned").steps == 40  # the entry's own budget, not that of a trial
    assert params.entry("unet_tuned").architecture()["blocks"] == best[1].get(
        "blocks", params.models["unet_tuned"].blocks
    )
    assert "train@unet_tuned" in reproduce(project, *TINY, "model=unet_tuned")


@pytest.mark.slow
def test_nothing_fetched_is_said_in_one_line(tmp_path):
    project = make_project(tmp_path)
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.tune"], cwd=project, env=environment(), capture_output=True, text=True
    )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "data/patches" in process.stderr


@pytest.mark.slow
def test_two_machines_search_together_on_postgresql(project, tmp_path, postgresql):
    machines = [tmp_path / name for name in ("one", "two")]
    for machine in machines:
        shutil.copytree(project, machine, ignore=shutil.ignore_patterns(".tune", ".ckpt", "mlartifacts", "mlflow.db"))
        set_search(machine, postgresql)
    engine = sqlalchemy.create_engine(postgresql, isolation_level="AUTOCOMMIT")
    optuna.storages.RDBStorage(postgresql)
    locking = engine.execution_options(isolation_level="READ COMMITTED")
    with engine.connect() as looking, locking.begin() as held:  # until both wait: they begin at the same instant
        held.execute(sqlalchemy.text("LOCK TABLE trials IN ACCESS EXCLUSIVE MODE"))
        processes = [start(machine, sys.executable, "-m", "pipeline.tune") for machine in machines]
        waiting = sqlalchemy.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        deadline = time.monotonic() + 120
        while looking.execute(waiting).scalar_one() < 2:
            assert time.monotonic() < deadline
            ended = [process.communicate()[0] for process in processes if process.poll() is not None]
            assert not ended, ended[0]
            time.sleep(0.1)
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output

    names = sorted(summary.study_name for summary in optuna.get_all_study_summaries(postgresql))
    found = [optuna.load_study(study_name=name, storage=postgresql).get_trials() for name in names]
    counted = [[trial for trial in trials if trial.state in studies.FINISHED] for trials in found]
    assert [len(trials) for trials in counted] == [6, 2]
    assert {trial.user_attrs[studies.WORKER][1] for trial in counted[0]} == {process.pid for process in processes}
    for trials, done in zip(found, counted, strict=True):
        assert sorted(studies.trial_index(trial, trials) for trial in done) == list(range(len(done)))
        assert len({str(trial.params) for trial in done}) == len(done)
    winners = {(machine / "conf/model/unet_tuned.yaml").read_text(encoding="utf-8") for machine in machines}
    assert len(winners) == 1
