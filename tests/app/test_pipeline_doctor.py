"""doctor: clear words instead of DVC's traceback."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture
def tree(tmp_path):
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    return tmp_path


def doctor(tree) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "pipeline.doctor"], cwd=tree, capture_output=True, text=True)


def test_without_git_and_without_a_commit_it_says_what_to_do(tree):
    said = doctor(tree)
    assert said.returncode == 1
    assert "this folder is not a Git repository" in said.stderr
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    said = doctor(tree)
    assert said.returncode == 1
    assert "no commit yet" in said.stderr
    assert "Traceback" not in said.stderr
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "Start"], cwd=tree, check=True)
    assert doctor(tree).returncode == 0


def test_outside_the_project_it_says_so(tree):
    (tree / "dvc.yaml").unlink()
    assert "has no dvc.yaml" in doctor(tree).stderr
