"""Whether the working tree had changes: those of the user, not those of the run."""

import subprocess

import pytest

from denoiselab.runtime import git

FILES = ("params.yaml", "dvc.lock", "reports/report.md", "src/net.py")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    author = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "experiment", "dirty"),
    [
        ((), None, False),
        (("dvc.lock", "reports/report.md"), None, False),  # what `make repro` writes
        (("params.yaml",), None, True),
        (("params.yaml", "dvc.lock", "reports/report.md"), "lumpy-cool", False),  # by `dvc exp run -S`
        (("src/net.py",), "lumpy-cool", True),
        (("src/net.py",), None, True),
        (("new.txt",), None, False),  # not tracked
    ],
)
def test_only_changes_of_the_user_count(repository, monkeypatch, changed, experiment, dirty):
    if experiment:
        monkeypatch.setenv("DVC_EXP_NAME", experiment)
    for name in changed:
        (repository / name).write_text("new")
    commit = git.commit()
    assert commit and commit.endswith("-dirty") == dirty and len(commit.removesuffix("-dirty")) == 12
    monkeypatch.chdir(repository / "src")
    assert git.commit() == commit


def test_outside_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert git.commit() is None
