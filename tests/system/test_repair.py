"""What a kill of DVC leaves of its own files is repaired before the next run."""

import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from denoiselab.runtime import dvc_files
from denoiselab.runtime.dvc_files import KEPT_LOCK
from pipeline import repair
from tests.conftest import ROOT

LOCK = {"schema": "2.0", "stages": {"fetch": {"cmd": "python -m pipeline.fetch"}}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    return tmp_path


def cut() -> bytes:
    return (yaml.safe_dump(LOCK) + "  patchify:\n    cmd: 'pyth").encode()


def test_intact_files_are_left_alone(project, capsys):
    (project / "dvc.lock").write_text(yaml.safe_dump(LOCK))
    (project / ".dvc/tmp/rwlock").write_text("{}")
    repair.main()
    assert not capsys.readouterr().out and yaml.safe_load((project / "dvc.lock").read_text()) == LOCK


@pytest.mark.parametrize("left", [b"", b'{"data/raw": {"wri'])
def test_a_damaged_rwlock_is_deleted(project, left):
    (project / ".dvc/tmp/rwlock").write_bytes(left)
    repair.main()
    assert not (project / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize("left", [b"", cut(), b"schema: '2.0'\nstages:\n  f\xff"])
def test_dvc_lock_comes_from_the_copy_of_the_last_stage(project, left, capsys):
    (project / "dvc.lock").write_bytes(left)
    (project / KEPT_LOCK).write_text(yaml.safe_dump(LOCK))
    repair.main()
    assert yaml.safe_load((project / "dvc.lock").read_text()) == LOCK
    assert "restored as it was when the last stage started" in capsys.readouterr().out


def cuts(whole: str) -> list[int]:
    """Places in the real file: multiples of a buffer, ends of lines and of stages."""
    lines = [match.end() for match in re.finditer(r"\n", whole)][:-1]
    stages = [match.start() for match in dvc_files.STAGE.finditer(whole)]
    return [*range(0, len(whole), 4096), *lines[7::31], *stages]


def test_every_beginning_of_dvc_lock_is_restored(project):
    """Or, if only results of the last stage are missing, DVC can read it."""
    whole = (ROOT / "dvc.lock").read_text()
    *_, last = dvc_files.STAGE.finditer(whole)
    (project / KEPT_LOCK).write_text(whole)
    for place in cuts(whole):
        (project / "dvc.lock").write_text(whole[:place])
        dvc_files.keep_lock()
        repair.main()
        found = (project / "dvc.lock").read_text()
        assert found == whole or (place > last.end() and dvc_files.is_lock(project / "dvc.lock")), place
        (project / KEPT_LOCK).write_text(whole)


def test_a_shorter_dvc_lock_from_git_is_left_alone(project):
    (project / KEPT_LOCK).write_text((ROOT / "dvc.lock").read_text())
    commit(project, short := yaml.safe_dump(LOCK))
    repair.main()
    assert (project / "dvc.lock").read_text() == short
    dvc_files.keep_lock()
    assert (project / KEPT_LOCK).read_text() == short


def test_a_shorter_dvc_lock_of_another_experiment_is_left_alone(project):
    """`dvc exp apply` wrote it: without the last stage, and with other results of many."""
    whole = (ROOT / "dvc.lock").read_text()
    (project / KEPT_LOCK).write_text(whole)
    *_, last = dvc_files.STAGE.finditer(whole)
    other = re.sub(r"md5: \w{8}", "md5: 01234567", whole[: last.start()])
    (project / "dvc.lock").write_text(other)
    repair.main()
    assert (project / "dvc.lock").read_text() == other
    dvc_files.keep_lock()
    assert (project / KEPT_LOCK).read_text() == other


def commit(project, lock: str) -> None:
    """Commit this dvc.lock."""
    (project / "dvc.lock").write_text(lock)
    for words in (
        ["init", "-q"],
        ["add", "dvc.lock"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *words], check=True)


def test_without_a_copy_it_comes_from_git(project, capsys):
    commit(project, yaml.safe_dump(LOCK))
    (project / "dvc.lock").write_bytes(cut())
    repair.main()
    assert yaml.safe_load((project / "dvc.lock").read_text()) == LOCK and "from Git" in capsys.readouterr().out


def test_without_either_it_is_deleted(project):
    (project / "dvc.lock").write_bytes(cut())
    repair.main()
    assert not (project / "dvc.lock").exists()


@pytest.mark.parametrize("command", [["dvc", "60"], ["python3", "-m", "dvc"], ["python3", "dvc/__main__.py"]])
def test_nothing_is_repaired_under_a_running_dvc(project, command):
    """The command, as a module, and a worker of its queue; also in a folder of the project."""
    (project / "dvc.lock").write_bytes(cut())
    (folder := project / "folder" / "dvc").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text("import time; time.sleep(60)")
    shutil.copyfile(shutil.which("sleep"), project / "dvc")
    (project / "dvc").chmod(0o755)
    words = [project / "dvc", *command[1:]] if command[0] == "dvc" else [sys.executable, *command[1:]]
    sleeping = subprocess.Popen(words, cwd=folder.parent)
    try:
        time.sleep(0.2)
        with pytest.raises(ValueError, match=rf"dvc \(process {sleeping.pid}\) is running here"):
            repair.main()
    finally:
        sleeping.kill()
        sleeping.wait()
    assert (project / "dvc.lock").read_bytes() == cut()


def test_every_stage_keeps_a_copy_when_it_starts(project):
    shutil.copyfile(ROOT / "params.yaml", project / "params.yaml")
    (project / "dvc.lock").write_text(yaml.safe_dump(LOCK))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "DVC_STAGE": "leaderboard"}
    subprocess.run([sys.executable, "-m", "pipeline.doctor"], env=environment, capture_output=True)
    assert yaml.safe_load((project / KEPT_LOCK).read_text()) == LOCK
