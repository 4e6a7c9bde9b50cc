"""The campaign of faults: its short version whole, and that it would notice what it looks for."""

import os
from pathlib import Path

import pytest

from bench.faults import __main__ as campaign
from bench.faults import power, table
from bench.faults._trial import Row, Settings, Trial
from denoiselab import files


def settings(folder: Path) -> Settings:
    return Settings(seed=0, kills=0, short=True, folder=folder)


def hasty(folder: Path, number: int) -> None:
    """Renames what was not flushed."""
    path = folder / ".text.tmp"
    path.write_text(f"{number}\n" * 400, encoding="utf-8")
    path.replace(folder / "text")


def careless(folder: Path, number: int) -> None:
    """Flushes the file, but not its name."""
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
def test_a_writer_that_a_power_loss_would_harm_is_noticed(tmp_path, monkeypatch, write, wrong):
    monkeypatch.setattr(power, "WRITERS", [power.Writer("text", write, read)])
    for trial in power.trials(settings(tmp_path)):
        row = trial.run()
        assert row.lost and bool(row.wrong) == wrong, row


def test_what_a_killed_writer_left_goes_with_the_next_file(tmp_path):
    left = tmp_path / f".a.csv.{files.HOST}.{2**22 + 1}.tmp"  # above the largest number of a process
    own = tmp_path / f".b.csv.{files.HOST}.{os.getppid()}.tmp"
    elsewhere, old = tmp_path / ".c.csv.00000000.1.tmp", tmp_path / ".d.csv.00000000.1.tmp"
    for path in (left, own, elsewhere, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    files.write_text(tmp_path / "b.csv", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"b.csv", own.name, elsewhere.name}


GOOD, BAD = Row("a kill", "train", 2, 2), Row("a kill", "train", 1, 0, wrong=1, message="other bytes")


def test_an_interrupted_campaign_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
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
    assert "Over all of it: 3 faults, 2 recovered, 1 wrong results" in page
    assert "| a kill | train | 3 | 2 | 1 | 0 | 0 |" in page
    assert "- a kill, train: other bytes" in page
    assert "## Not tried here\n\n- none, disk: no root" in page
    assert campaign.main([*options, "--render"]) == 1 and len(tried) == 5
    assert campaign.main([*options, "--seed", "1"]) == 1 and len(tried) == 8
