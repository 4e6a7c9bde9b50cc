"""Fault injection: the short campaign finds no faults, and the checks notice the faults they look for."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import pipeline
from bench.faults import __main__ as campaign
from bench.faults import power, table
from bench.faults._trial import Row, Settings, Trial
from denoiselab.imaging import arrays
from denoiselab.runtime import files
from denoiselab.training.checkpoint import Checkpoint


def settings(folder: Path) -> Settings:
    return Settings(seed=0, kills=0, short=True, folder=folder)


def hasty(folder: Path, number: int) -> None:
    """Renames a file that was not flushed."""
    path = folder / ".text.tmp"
    path.write_text(f"{number}\n" * 400, encoding="utf-8")
    path.replace(folder / "text")


def careless(folder: Path, number: int) -> None:
    """Flushes the file, but not its folder."""
    path = folder / ".text.tmp"
    path.write_text(f"{number}\n" * 400, encoding="utf-8")
    files.flush(path)
    path.replace(folder / "text")


def read(folder: Path) -> str | None:
    return (folder / "text").read_text(encoding="utf-8") if (folder / "text").exists() else None


@pytest.mark.parametrize("trial", [*power.trials(settings(Path()))], ids=lambda trial: trial.name)
def test_a_power_loss_leaves_the_old_file_or_the_new_one(tmp_path, trial):
    again = {own.name: own for own in power.trials(settings(tmp_path))}
    row = again[trial.name].run()
    assert table.good(row), row
    assert row.count >= 5


@pytest.mark.parametrize(("write", "wrong"), [(hasty, True), (careless, False)])
def test_unsafe_writers_are_detected(tmp_path, monkeypatch, write, wrong):
    monkeypatch.setattr(power, "WRITERS", [power.Writer("text", write, read)])
    for trial in power.trials(settings(tmp_path)):
        row = trial.run()
        assert row.lost and bool(row.wrong) == wrong, row


def test_the_next_write_deletes_temporary_files_of_killed_writers(tmp_path):
    left = tmp_path / f".a.csv.{files.HOST}.{2**22 + 1}.tmp"  # above the largest process id
    own = tmp_path / f".b.csv.{files.HOST}.{os.getppid()}.tmp"
    elsewhere, old = tmp_path / ".c.csv.00000000.1.tmp", tmp_path / ".d.csv.00000000.1.tmp"
    again = tmp_path / f".e.csv.{files.HOST}.{os.getppid()}.tmp"  # of an earlier process with the same id
    for path in (left, own, elsewhere, old, again):
        path.write_bytes(b"half")
    for path in (old, again):
        os.utime(path, (0, 0))
    files.write_text(tmp_path / "b.csv", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"b.csv", own.name, elsewhere.name}


GOOD, BAD = Row("a kill", "train", 2, 2), Row("a kill", "train", 1, 0, wrong=1, message="other bytes")


def test_an_interrupted_campaign_resumes(tmp_path, monkeypatch, capsys):
    tried = []

    def trials(settings):
        for name, row in (("first", GOOD), ("second", BAD), ("third", Row("none", "disk", 0, message="no root"))):
            yield Trial(name, lambda name=name, row=row: tried.append(name) or row)

    monkeypatch.setattr(campaign.importlib, "import_module", lambda name: type("Family", (), {"trials": trials}))
    options = ["--only", "power", "--out", str(tmp_path / "faults.md")]
    assert campaign.main(options) == 1
    assert tried == ["first", "second", "third"]
    with (tmp_path / "faults.jsonl").open("r+", encoding="utf-8") as record:
        lines = record.readlines()
        record.seek(0)
        record.truncate()
        record.writelines([lines[0], lines[1][:20]])  # as a power loss leaves it
    assert campaign.main(options) == 1
    assert tried[3:] == ["second", "third"]
    page = (tmp_path / "faults.md").read_text(encoding="utf-8")
    assert "In total: 3 faults, 2 recovered, 1 wrong results" in page
    assert "| a kill | train | 3 | 2 | 1 | 0 | 0 |" in page
    assert "- a kill, train: other bytes" in page
    assert "## Skipped\n\n- none, disk: no root" in page
    assert campaign.main([*options, "--render"]) == 1 and len(tried) == 5
    assert campaign.main([*options, "--seed", "1"]) == 1 and len(tried) == 8


PARENT = """\
import subprocess, sys
stage = subprocess.Popen(f"{sys.executable} -m pipeline.sleep", shell=True, executable="/bin/bash")  # as DVC does
print(stage.pid, flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux" or not Path("/bin/bash").exists(), reason="needs Linux and bash")
def test_a_stage_does_not_outlive_its_dvc(tmp_path):
    (tmp_path / "pipeline").mkdir()
    shutil.copyfile(pipeline.__file__, tmp_path / "pipeline/__init__.py")
    (tmp_path / "pipeline/sleep.py").write_text("import time\nprint('there', flush=True)\ntime.sleep(60)\n")
    environment, pipe = os.environ | {"DVC_STAGE": "sleep"}, subprocess.PIPE
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=pipe, stdout=pipe, text=True) as dvc:
        stage = psutil.Process(int(dvc.stdout.readline()))
        assert dvc.stdout.readline() == "there\n"
        dvc.kill()
    gone, _ = psutil.wait_procs([stage], timeout=20)
    assert gone


SHORT_OF_ROOM = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.mark.parametrize(
    "array", [np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros((2, 3, 3), np.uint8), np.zeros((0, 4))]
)
def test_arrays_are_written_as_by_numpy(tmp_path, array):
    arrays.write_npy(tmp_path / "ours.npy", array)
    np.save(tmp_path / "theirs.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


@SHORT_OF_ROOM
def test_writing_an_array_to_a_full_disk_names_the_error():
    with pytest.raises(OSError, match="No space left on device"):
        arrays.write_npy(Path("/dev/full"), np.zeros(100_000, np.float32))


@SHORT_OF_ROOM
def test_writing_a_checkpoint_to_a_full_disk_names_the_error_and_keeps_the_last_one(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path, "fingerprint")
    checkpoint.save({"step": 1})
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r": opened(Path("/dev/full") if mode == "wb" else path, mode))
    with pytest.raises(OSError, match="No space left on device"):
        checkpoint.save({"step": 2, "weights": torch.zeros(1_000_000)})
    assert checkpoint.load() == {"step": 1}


def test_a_stage_names_the_folder_whose_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def stage() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SystemExit) as stopped:
        pipeline.run(stage)
    assert stopped.value.code == f"error: {tmp_path}: No space left on device"


@pytest.mark.slow
def test_no_damaged_file_is_used_in_the_short_campaign(tmp_path):
    page = tmp_path / "faults.md"
    assert campaign.main(["--short", "--only", "damage", "--out", str(page)]) == 0, page.read_text(encoding="utf-8")


@pytest.mark.long
def test_nothing_is_lost_in_the_short_campaign(tmp_path):
    page = tmp_path / "faults.md"
    assert campaign.main(["--short", "--out", str(page)]) == 0, page.read_text(encoding="utf-8")
