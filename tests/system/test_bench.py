"""The benchmarks at their smallest size: they run, and the page shows their results. No times are asserted."""

import json
import subprocess
import sys

import pytest

from bench import __main__ as suite
from bench._project import environment
from bench._show import Target, show, sizes

MACHINE = {"processor": "Some (R) CPU", "cores": "2", "GPU": "none"}
FOUND = {"bench": "a", "targets": [Target("a start", 5.0, 4.0, "s").__dict__ | {"met": False}]}


LONG = {"inference", "startup", "train"}  # of which each starts a dozen interpreters that import torch


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in LONG else [])
        for name in (*suite.KNOWN, "noise_curve", "ranking")
    ],
)
def test_a_benchmark_prints_a_table_and_one_json_line(name):
    command = [sys.executable, "-m", f"bench.{name}", "--quick"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *text, line = done.stdout.splitlines()
    assert json.loads(line)["bench"] == name
    assert [row for row in text if row.startswith("|")] and not text[0].startswith("|")


def test_the_page_has_every_benchmark_and_marks_failures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(suite, "KNOWN", ["noise", "absent"])
    assert suite.main(["--quick", "--out", str(tmp_path)]) == 1
    (page,), (lines,) = tmp_path.glob("*.md"), tmp_path.glob("*.jsonl")
    text = page.read_text(encoding="utf-8")
    assert "| poisson |" in text and "Every kind of synthetic noise" in text
    assert "**Failed**" in text and "No module named bench.absent" in text
    found = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert found[0]["torch"] and found[1]["rows"] and "No module" in found[2]["failed"]


def test_missed_targets_are_listed_at_the_top():
    text = suite.page(MACHINE, [suite.Result("a", 1.0, "what a compared", FOUND)])
    assert "| a | a start at most 4 s | 5 | **missed** |" in text
    assert text.index("missed") < text.index("what a compared")


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        suite.main(["nonsense"])
    assert "unknown: nonsense; choose from: compare" in capsys.readouterr().err


def test_the_file_name_of_a_machine():
    assert suite._machine.name(MACHINE) == "some-cpu-2-cores"
    assert suite._machine.name(MACHINE | {"GPU": "NVIDIA H200"}) == "nvidia-h200"


def test_a_target_is_an_upper_or_a_lower_bound():
    assert Target("rate", 0.95, 0.9, at_least=True).met and not Target("rate", 0.85, 0.9, at_least=True).met
    assert Target("time", 3.9, 4, "s").met and "**missed**: time at most 4 s" in str(Target("time", 4.1, 4, "s"))


def test_rows_are_printed_as_markdown_and_as_json(capsys):
    show("a", "This against that.", [{"what": "x", "s": 1234.5, "n": 3, "of": None}], device="cpu")
    text, _, line = capsys.readouterr().out.rstrip().rpartition("\n")
    assert text.split("\n") == [
        "This against that.",
        "",
        "| what | s | n | of |",
        "|:--|--:|--:|--:|",
        "| x | 1,234 | 3 | – |",
        "",
    ]
    assert json.loads(line) == {
        "bench": "a",
        "compared": "This against that.",
        "rows": [{"what": "x", "s": 1234.5, "n": 3, "of": None}],
        "targets": [],
        "device": "cpu",
    }


def test_stated_sizes_override_quick_sizes():
    known = {"models": ([2, 10], [2]), "rounds": (5, 1), "names": (["a"], ["b"])}
    assert vars(sizes("", [], **known)) == {"quick": False, "models": [2, 10], "rounds": 5, "names": ["a"]}
    stated = sizes("", ["--quick", "--rounds", "3", "--names", "c", "d"], **known)
    assert vars(stated) == {"quick": True, "models": [2], "rounds": 3, "names": ["c", "d"]}
