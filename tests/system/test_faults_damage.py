"""Injection of damaged files: it damages files as named, and detects damaged input that is used without an error."""

from pathlib import Path
from random import Random

import pytest

from bench.faults import _toy, damage, table
from bench.faults._trial import Settings
from denoiselab.runtime import files

CONTENT = bytes(600) + bytes(range(256)) * 4


@pytest.mark.parametrize("kind", damage.DAMAGES)
@pytest.mark.parametrize("seed", range(20))
def test_damage_is_as_named(kind, seed):
    changed = damage._changed(CONTENT, damage.DAMAGES[kind][0], Random(seed))
    differ = [n for n, (old, new) in enumerate(zip(CONTENT, changed, strict=False)) if old != new]
    match kind:
        case "a flipped bit":
            [place] = differ
            assert (CONTENT[place] ^ changed[place]).bit_count() == 1 and len(changed) == len(CONTENT)
        case "cut short":
            assert changed == CONTENT[: len(changed)] and len(changed) < len(CONTENT)
        case _:
            assert differ and len({n // damage.SECTOR for n in differ}) == 1 and not any(changed[n] for n in differ)


def test_every_file_gets_every_kind_of_damage():
    long = [trial.name for trial in damage.trials(Settings(0, 0, False, Path()))]
    assert len({*long}) == len(long) == len(damage.TARGETS) * (damage.BITS + damage.CUTS + damage.ZEROS)
    short = [trial.name for trial in damage.trials(Settings(0, 0, True, Path()))]
    assert {*short} < {*long} and len(short) == 4


@pytest.fixture
def project(tmp_path):
    """A project after a stage that read a damaged manifest."""
    files.write_text(tmp_path / "data" / "raw" / "manifest.csv", "damaged")
    files.write_text(tmp_path / "data" / "patches" / "index.csv", "as ever")
    outputs = _toy.outputs(tmp_path) | {"data/raw/manifest.csv": "that of the whole file"}
    return _toy.Project(tmp_path, outputs, seconds={}, changes={})


@pytest.mark.parametrize(
    ("rc", "said", "well"),
    [
        (1, "error: data/raw/manifest.csv: differs from what was written; do this", True),
        (1, "error: something is wrong", False),
        (1, "Traceback (most recent call last):\n ...\nValueError: manifest.csv", False),
        (-11, "", False),
        (0, "", True),
    ],
)
def test_which_outputs_count_as_a_named_error(project, rc, said, well):
    path = project.folder / "data" / "raw" / "manifest.csv"
    row = damage._judged(project, damage.TARGETS[0], "a flipped bit", path, rc, said)
    assert table.good(row) == well and row.wrong == 0


def test_damage_used_without_an_error_is_a_wrong_result(project):
    files.write_text(project.folder / "data" / "patches" / "index.csv", "other patches")
    path = project.folder / "data" / "raw" / "manifest.csv"
    row = damage._judged(project, damage.TARGETS[0], "a flipped bit", path, 0, "")
    assert not table.good(row) and row.wrong == 1 and "data/patches/index.csv" in row.message
