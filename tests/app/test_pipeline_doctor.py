"""pipeline.doctor: clear messages instead of DVC's traceback."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.doctor import FREE_GIB, _disk
from tests.conftest import ROOT


@pytest.fixture
def tree(tmp_path):
    for folder in ("pipeline", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    install(tmp_path)  # so that the free space of this machine decides nothing
    return tmp_path


def install(tree) -> None:
    (tree / ".venv").mkdir()
    (tree / ".venv" / "installed").touch()


def doctor(tree) -> subprocess.CompletedProcess:
    """Runs it without the installed packages (-S), as `make` does before it installs them."""
    return subprocess.run([sys.executable, "-S", "-m", "pipeline.doctor"], cwd=tree, capture_output=True, text=True)


def test_a_missing_repository_or_commit_is_reported_with_the_remedy(tree):
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


def test_a_folder_without_a_project_is_reported(tree):
    (tree / "dvc.yaml").unlink()
    assert "has no dvc.yaml" in doctor(tree).stderr


def test_space_is_asked_for_until_the_packages_are_installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    free = {".": 2**30 * (FREE_GIB + 0.1)}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[folder]))
    assert _disk() is None
    free["."] = 2**30 * (FREE_GIB - 0.6)
    assert _disk() == f"{FREE_GIB - 0.6:.1f} GiB of disk space are free; {FREE_GIB} GiB are needed"
    install(tmp_path)
    assert _disk() is None
