"""docs/gallery.md: its numbers are those of the released weights."""

import re

import pytest

from docs.make import gallery
from tests.conftest import ROOT

PAGE = (ROOT / gallery.PAGE).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("task", gallery.TASKS, ids=lambda task: task.title)
def test_the_page_shows_what_is_restored(task):
    result = gallery.restored(task)
    (text,) = re.findall(rf"## {task.title}\n\n(.*)\n\n!\[", PAGE)
    before, after, model = re.findall(r"([\d.]+) dB noisy, ([\d.]+) dB restored by `(\w+)`", text)[0]
    assert model == result.model
    assert float(before) == pytest.approx(result.before, abs=0.006)
    assert float(after) == pytest.approx(result.after, abs=0.03)
    assert result.after > result.before + 1
    assert gallery.shown(result, task.corner).size == (6 * gallery.SIDE + 2 * gallery.GAP, 2 * gallery.SIDE)
