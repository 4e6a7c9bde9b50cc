"""The README's table is that of the committed report, and its links lead somewhere."""

import re

import pandas as pd
import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_the_committed_comparison():
    lines = re.findall(r"^\| (\w+) \| \**([^|*]+)\** \| \**([^|*]+)\** \| (\d+) \| (\d+) \|$", README, re.MULTILINE)
    scores = pd.read_csv(ROOT / "reports/comparison.csv").set_index("model")
    assert {line[0] for line in lines} == set(scores.index)
    assert [line[0] for line in lines] == list(scores.psnr_mean.sort_values(ascending=False).index)
    for model, psnr, ssim, _, _ in lines:
        row = scores.loc[model]
        assert psnr == f"{row.psnr_mean:.2f} [{row.psnr_low:.2f}, {row.psnr_high:.2f}]"
        assert ssim == f"{row.ssim_mean:.4f} [{row.ssim_low:.4f}, {row.ssim_high:.4f}]"


def test_the_times_are_the_committed_ones():
    times = dict(re.findall(r"^\| (\w+) \| .* \| (\d+ \| \d+) \|$", README, re.MULTILINE))
    cost = (ROOT / "reports/cost.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| [\d,]+ \| [^|]* \| ([\d.]+) \| [^|]* \| (\d+) \|", cost, re.MULTILINE)
    assert times == {model: f"{float(training):.0f} | {each}" for model, training, each in rows}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_first_screen_has_the_result_and_what_it_does_not_show():
    first = README[: README.index("## Denoise a photo")]
    assert len(first.splitlines()) <= 35
    for what in ("seed 0", "two cores", "95 % interval", "as four images and one seed can say"):
        assert what in first
