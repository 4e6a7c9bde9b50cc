"""bench.recipes publishes a report without its photos, and every link of the published page leads somewhere."""

import re
from pathlib import Path

import pytest

from bench import recipes
from denoiselab.runtime import paths
from tests.conftest import ROOT


@pytest.mark.slow
def test_a_published_report_has_plots_and_no_photos(finished, written, tmp_path, monkeypatch):
    pages = tmp_path / "reports/recipes"
    monkeypatch.setattr(recipes, "PAGES", pages)
    recipes.publish(finished[0] / "reports", "small", ["recipe=small"])
    text = (pages / "small.md").read_text(encoding="utf-8")
    assert "Made by `dvc exp run -S recipe=small`." in text and "Photos are not published here" in text
    linked = re.findall(r"\]\((?!http|#)([^)#]+)", text + (pages / "small/cost.md").read_text(encoding="utf-8"))
    assert {Path(name).suffix for name in linked} == {".csv", ".svg", ".png", ".md", ".tex", ".bib"}
    for name in linked:
        places = [pages / name, pages / "small" / name, ROOT / "reports/recipes" / name]
        assert any(place.is_file() for place in places), name
    assert not [path for path in pages.rglob("*") if path.suffix == ".webp"]
    for section in ("Example images", "Limitations"):
        assert f"## {section}\n" in text
    report = (finished[0] / paths.REPORT_MD).read_text(encoding="utf-8")
    assert text.count("| median |") == report.count("| median |")
