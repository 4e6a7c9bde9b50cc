"""README.md: its numbers are those of the committed report, its first screen and its tree are complete, links work."""

import io
import re

import pandas as pd
import pytest

from tests.conftest import ROOT, committed

README = (ROOT / "README.md").read_text(encoding="utf-8")


def table_of(path: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(committed(path)))


def scores() -> pd.DataFrame:
    return table_of("reports/comparison.csv").set_index("model")


def test_the_table_is_the_committed_comparison():
    lines = re.findall(r"^\| (\w+) \| \**([^|*]+)\** \| \**([^|*]+)\** \| (\d+) \| (\d+) \|$", README, re.MULTILINE)
    table = scores()
    assert {line[0] for line in lines} == set(table.index)
    assert [line[0] for line in lines] == list(table.psnr_mean.sort_values(ascending=False).index)
    for model, psnr, ssim, _, _ in lines:
        row = table.loc[model]
        assert psnr == f"{row.psnr_mean:.2f} [{row.psnr_low:.2f}, {row.psnr_high:.2f}]"
        assert ssim == f"{row.ssim_mean:.4f} [{row.ssim_low:.4f}, {row.ssim_high:.4f}]"


def test_the_times_are_the_committed_ones():
    times = dict(re.findall(r"^\| (\w+) \| .* \| (\d+ \| \d+) \|$", README, re.MULTILINE))
    cost = committed("reports/cost.md")
    rows = re.findall(r"^\| (\w+) \| [\d,]+ \| [^|]* \| ([\d.]+) \| [^|]* \| (\d+) \|", cost, re.MULTILINE)
    assert times == {model: f"{float(training):.0f} | {each}" for model, training, each in rows}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


FIRST = README[: README.index("## Denoise a photo")]


def test_the_first_screen_says_what_it_is_and_shows_it():
    assert len(FIRST.splitlines()) <= 35
    sentence, picture, *_ = FIRST.split("\n\n")[2:]
    assert sentence.startswith("denoiselab denoises photos") and sentence.count(". ") == 0 and sentence.endswith(".")
    assert re.match(r"!\[[^]]+\]\(reports/photos/[^)]+\)$", picture)


def test_the_first_screen_has_both_commands_and_the_table():
    (block,) = re.findall(r"^```sh\n(.*?)^```$", FIRST, re.MULTILINE | re.DOTALL)
    assert "make install" in block and "denoiselab denoise photo.jpg restored.png" in block and "make repro" in block
    assert set(re.findall(r"^\| (\w+) \| \**\d", FIRST, re.MULTILINE)) == set(scores().index)


def test_the_first_screen_says_how_the_result_came_and_what_it_does_not_show():
    for what in ("4 test photos", "seed 0", "two cores", "95 % interval", "Four images and one seed are too few"):
        assert what in FIRST


def test_the_difference_on_the_first_screen_is_the_committed_one():
    pairs = table_of("reports/pairs.csv").set_index(["better", "worse"])
    row = pairs.loc[("unet", "nlm")]
    said = " ".join(FIRST.split())
    assert f"the highest PSNR on each of the {row.n_images} images" in said
    assert f"{row.psnr_difference:.2f} dB above `nlm` (non-local means), the best classical method tested" in said
    low, high = row.psnr_difference_low, row.psnr_difference_high
    assert f"the 95 % interval of this difference is {low:.2f} to {high:.2f} dB" in said
    assert row.wins == row.n_images and row.verdict == "few"


def test_the_tree_has_every_package():
    tree = README[README.index("## Tree") :]
    packages = {path.parent.name for path in (ROOT / "src/denoiselab").glob("*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) == packages
    for named in re.findall(r"(\w+\.py)\b", tree):
        assert list((ROOT / "src/denoiselab").glob(f"*/{named}")), named


def test_packages_in_the_tree_are_in_the_order_of_their_imports():
    """A package imports only packages above it."""
    order = re.findall(r"^  (\w+)/ ", README[README.index("## Tree") :], re.MULTILINE)
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("layers = [")[2].partition("]")[0]
    layers = [set(line.split(" | ")) for line in re.findall(r'"([^"]+)"', contract)][::-1]
    assert [place for name in order for place, layer in enumerate(layers) if name in layer] == sorted(
        place for place, layer in enumerate(layers) for _ in layer
    )


def test_the_limits_of_the_network_are_the_committed_curves():
    """At which noise levels non-local means is better than the network that was trained for sigma 25."""
    curves = [table_of(f"reports/evaluate/{name}/curve.csv") for name in ("unet", "nlm")]
    unet, nlm = (curve.groupby("sigma_255").psnr.mean() for curve in curves)
    assert "at sigma 15 and below and at 35 and above, non-local means is better" in " ".join(README.split())
    assert [level for level in unet.index if unet[level] > nlm[level]] == [20, 25, 30]


def test_pages_agree_how_long_the_default_experiment_takes():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    said = [re.findall(r"(\w+) minutes on\s+two cores", text) for text in (FIRST, index)]
    assert said == [["five"], ["five"]]
