"""The pages of docs/ are followed to the letter, in a copy of the project as a newcomer has it.

A code block with a title is a file to write, a `diff` one to apply, a `sh` one to run; they are taken in their order.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from denoiselab.data import manifest
from tests.conftest import ROOT
from tests.projects import call, make_project

DOCS = ROOT / "docs"
BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """The code blocks of a page, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [Block(match["language"], match["title"] or "", match["text"]) for match in BLOCK.finditer(text)]


def follow(project: Path, page: str) -> str:
    """Do what the page says in the project; what its commands printed."""
    output, found = [], blocks(page)
    assert found, f"{page} has no blocks"
    for block in found:
        if block.title:
            path = project / block.title
            assert not path.exists(), f"{page} overwrites {block.title}"
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "diff":
            (project / "page.diff").write_text(block.text, encoding="utf-8")
            call(project, "git", "apply", "page.diff")
            (project / "page.diff").unlink()
        else:
            assert block.language == "sh", f"{page}: {block.language} without a title"
            output.append(call(project, "bash", "-euxo", "pipefail", "-c", block.text))
    return "".join(output)


LISTED = {
    "data": ["data-and-noise.md"],
    "noise": ["data-and-noise.md"],
    "model": ["models.md", "experiments.md"],
    "recipe": ["recipes.md", "experiments.md", "models.md"],
    "augment": ["experiments.md"],
    "train": ["experiments.md"],
    "tune": ["experiments.md"],
}


@pytest.mark.parametrize("group", LISTED)
def test_every_option_is_listed(group):
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in LISTED[group])
    options = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert options and not {name for name in options if not re.search(rf"[`=]{name}\b", text)}


@pytest.mark.parametrize("page", ["add-a-model.md", "add-a-noise.md", "add-a-data-set.md"])
def test_the_changes_of_a_page_fit_the_code(page, tmp_path):
    """Told at once, not after the trainings of the tests below."""
    changes = [block.text for block in blocks(page) if block.language == "diff"]
    assert changes
    for change in changes:
        (tmp_path / "page.diff").write_text(change, encoding="utf-8")
        call(ROOT, "git", "apply", "--check", str(tmp_path / "page.diff"))


@pytest.fixture
def clone(tmp_path) -> Path:
    return make_project(tmp_path / "clone")


def scores(project: Path) -> pd.DataFrame:
    return pd.read_csv(project / "reports/comparison.csv").set_index("model")


@pytest.mark.long
def test_a_model_is_added_as_the_page_says(clone):
    output = follow(clone, "add-a-model.md")
    assert "Running stage 'train@edsr_small'" in output and "passed" in output and "failed" not in output
    assert scores(clone).psnr_mean["edsr_small"] > scores(clone).psnr_mean["noisy"]  # it learns, in 40 steps
    assert scores(clone).parameters["edsr_small"] > 0


@pytest.mark.slow
def test_a_noise_is_added_as_the_page_says(clone):
    output = follow(clone, "add-a-noise.md")
    assert "passed" in output and "failed" not in output
    assert "test_stripes_are_one_value_a_row" in (clone / "tests/noise/test_synthesis.py").read_text(encoding="utf-8")
    table = scores(clone)
    assert (table.protocol == "stripes-unclipped").all() and (table.condition == "stripes20").all()
    assert table.psnr_mean["noisy"] == pytest.approx(22.1, abs=0.3)  # 20 log10(255 / 20)


@pytest.mark.long
def test_a_data_set_is_added_as_the_page_says(clone):
    output = follow(clone, "add-a-data-set.md")
    assert "image,split,label,group" in output and "passed" in output and "failed" not in output
    rows = manifest.read(clone / "data/raw")
    assert len(rows) == 12 and {row.source for row in rows} == {"bursts"}
    scenes = {split: {row.group for row in rows if row.split == split} for split in manifest.SPLITS}
    assert {split: len(found) for split, found in scenes.items()} == {"train": 3, "val": 1, "test": 2}
    assert not scenes["train"] & scenes["val"]
    assert "public domain and CC0" in (clone / "reports/report.md").read_text(encoding="utf-8")
    assert "bursts" in (clone / "docs/licences.md").read_text(encoding="utf-8")
