"""Studies that several processes work at: on PostgreSQL from two at once, nothing lost, nothing done twice."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from multiprocessing.synchronize import Barrier

import optuna
import pytest
from optuna.trial import TrialState

from denoiselab.runtime.errors import UserError
from denoiselab.training.tuning import studies
from tests.conftest import ROOT

TRIALS = 9


def study(url: str) -> optuna.Study:
    return optuna.create_study(
        storage=studies.storage(url), study_name="one", direction="maximize", load_if_exists=True
    )


def worker(folder: str, url: str, together: Barrier) -> None:
    """What one machine does; both begin at the same instant, with the tables still to be made."""
    os.environ["DVC_ROOT"] = folder

    def objective(trial: optuna.Trial, place: int) -> float:
        if place < 2:
            together.wait(timeout=60)  # each has one of the first two places
        trial.set_user_attr("place", place)
        time.sleep(0.05)
        return float(place)

    together.wait(timeout=60)
    studies.run_trials(study(url), TRIALS, objective, lambda trial: None)


def test_two_processes_share_a_study_on_postgresql(postgresql, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    workers = [context.Process(target=worker, args=(str(tmp_path), postgresql, together)) for _ in range(2)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(timeout=120)
        assert process.exitcode == 0
    trials = study(postgresql).get_trials()
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["place"] for trial in finished) == list(range(TRIALS))
    assert sum(trial.value for trial in finished) == sum(range(TRIALS))
    assert {trial.user_attrs[studies.WORKER][1] for trial in finished} == {process.pid for process in workers}
    # What began beside these was withdrawn before it did anything.
    assert all(trial.state == TrialState.FAIL and not trial.params for trial in trials if trial not in finished)


@pytest.fixture
def here(tmp_path, monkeypatch) -> optuna.Study:
    """A study in SQLite."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(storage=studies.storage(None), direction="maximize")


def drawn(trial: optuna.Trial, place: int) -> float:
    return trial.suggest_float("x", 0, 1) + place


def test_a_lost_trial_is_repeated_once_at_its_place_with_its_values(here):
    lost, other = here.ask(), here.ask()
    x = lost.suggest_float("x", 0, 1)
    lost.set_user_attr(studies.WORKER, ["another machine", 1])
    other.set_user_attr(studies.WORKER, ["another machine", 1])
    here.tell(lost, state=TrialState.FAIL)
    here.tell(other, 1.5)
    for _ in range(2):  # by two machines that see it at once
        here.enqueue_trial({"x": x}, user_attrs={studies.REPEATS: lost.number})
    studies.run_trials(here, 3, drawn, lambda trial: None)
    trials = here.get_trials()
    assert [studies.trial_index(trial, trials) for trial in trials] == [0, 1, 0, 0, 2]
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert trials[2].params == {"x": x} and trials[2].value == x


def test_an_interrupted_trial_is_repeated_with_its_values(here):
    def interrupted(trial: optuna.Trial, place: int) -> float:
        drawn(trial, place)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studies.run_trials(here, 2, interrupted, lambda trial: None)
    told: list[int] = []
    studies.run_trials(here, 2, drawn, lambda trial: told.append(trial.number))
    trials = here.get_trials()
    assert trials[1].params == trials[0].params
    assert [studies.trial_index(trial, trials) for trial in trials] == [0, 0, 1]
    assert told == [1, 2]


def test_no_trial_is_begun_beside_the_last_ones(here, monkeypatch):
    """A process that finds every place taken waits for the others, and ends with them."""
    elsewhere = here.ask()
    elsewhere.set_user_attr(studies.WORKER, ["another machine", 1])
    monkeypatch.setattr(time, "sleep", lambda seconds: here.tell(elsewhere, 1.0))
    studies.run_trials(here, 1, drawn, lambda trial: pytest.fail("begun by this process"))
    assert len(here.get_trials()) == 1


def test_a_trial_is_lost_only_when_its_process_is_gone(here):
    """Also between its begin and the moment when it says whose it is."""
    begun, own, elsewhere, gone = (here.ask() for _ in range(4))
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    own.set_user_attr(studies.WORKER, [socket.gethostname(), os.getppid()])
    elsewhere.set_user_attr(studies.WORKER, ["another machine", int(child.stdout)])
    gone.set_user_attr(studies.WORKER, [socket.gethostname(), int(child.stdout)])
    studies._repeat_lost(here, 4)
    trials = here.get_trials()
    assert [trials[trial.number].state.name for trial in (begun, own, elsewhere, gone)] == ["RUNNING"] * 3 + ["FAIL"]
    assert [trial.user_attrs.get(studies.REPEATS) for trial in trials[4:]] == [gone.number]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@127.0.0.1:9/studies", r"postgresql://me:\*\*\*@127.0.0.1:9/studies.*refused"),
        ("postgres://me:secret@127.0.0.1/studies", "not a database URL such as postgresql://"),
        ("postgresql://me:secret@127.0.0.1:port/studies", "not a database URL such as postgresql://"),
    ],
)
def test_a_wrong_storage_is_said_in_one_line_without_the_password(url, said, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=f"^tune.storage: .*{said}") as error:
        studies.storage(url)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_driver_that_is_missing_is_named_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"driver is not installed: .*requirements/scale\.txt") as error:
        studies.storage("postgresql://me:secret@127.0.0.1/studies")
    assert "secret" not in str(error.value)
    assert (ROOT / "requirements/scale.txt").read_text(encoding="utf-8").count("psycopg[binary]") == 1
