"""The report's tables, recomputed from the per-image rows without the project's code."""

import csv
import math
import re
import shutil
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev

import jinja2
import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import stats

from denoiselab import config, report
from denoiselab.runtime import files, paths, sanitize, stage_outputs
from tests.conftest import photograph, run_stages, small

MODELS = ("noisy", "gaussian", "median", "net")
COST = ("parameters", "GMAC per megapixel")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A run with a network trained twice, two noise draws and images of ten scenes."""
    root = tmp_path_factory.mktemp("report")
    (root / "photos").mkdir()
    for n, name in enumerate(("astronaut", "coffee", "motorcycle_left", "chelsea") * 6):
        crop = photograph(name)[9 * n : 9 * n + 64, 14 * n : 14 * n + 72]
        Image.fromarray(crop).save(root / "photos" / f"{name}-{n}.png")
    shares = ["data.split.train=0.3", "data.split.val=0.2", "data.split.test=0.5"]
    params = small(root / "photos", "seeds=2", "protocol.draws=2", "data.drop_leaks=true", *shares)
    tree = params.model_dump(mode="json", exclude_unset=True)
    tree["train"] |= {"steps": 2, "validate_every": 1, "crop": 32, "warmup_steps": 0}
    tree["evaluate"]["resamples"] = 4000
    net = {"arch": "dncnn", "needs": "data/patches", "channels": 3, "depth": 3, "features": 4, "batch_norm": False}
    tree["models"] |= {"net": net}
    params = config.Params.model_validate(tree)
    (root / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    run_stages(root, params)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        report.write(params)
    return root


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def words(condition: str) -> str:
    return condition.replace("sigma", "sigma ")


def by_image(root: Path, model: str, condition: str, score: str) -> dict[str, float]:
    """Means over draws and seeds."""
    found = defaultdict(list)
    for row in read(root / f"reports/evaluate/{model}/per_image.csv"):
        if row["condition"] == condition:
            found[row["image"]].append(float(row[score]))
    assert {len(values) for values in found.values()} == {4 if model == "net" else 2}
    return {image: fmean(values) for image, values in found.items()}


def bootstrapped(values: list[float]) -> tuple[float, float]:
    """A percentile bootstrap with other random numbers."""
    drawn = np.random.RandomState(7).choice(np.array(values), (20000, len(values)))
    return tuple(np.percentile(drawn.mean(axis=1), [2.5, 97.5]))


@pytest.mark.slow
def test_every_cell_of_the_tables_follows_from_the_rows(root):
    text = (root / "reports/report.md").read_text(encoding="utf-8")
    for condition in ("sigma15", "sigma25", "sigma50"):
        section = text.split(f"## Photos from a folder, {words(condition)}\n")[1].split("\n## ")[0]
        section, each = section.split("PSNR of every image (dB), the best in bold:\n")
        lines = [line.replace("*", "").strip("| ").split(" | ") for line in section.splitlines() if line[:2] == "| "]
        head, cells = lines[0], {line[0]: line for line in lines[1:]}
        assert head == ["model", "PSNR (dB)", "gain (dB)", "seeds (dB)", "SSIM", "MSE (×10⁻³)", *COST]
        assert sorted(cells) == sorted(MODELS)
        noisy = by_image(root, "noisy", condition, "psnr")
        for model, row in cells.items():
            for column, score, factor, digits in ((1, "psnr", 1, 2), (4, "ssim", 1, 4), (5, "mse", 1000, 3)):
                values = [factor * value for value in by_image(root, model, condition, score).values()]
                mean, low, high = map(float, re.findall(r"[\d.]+", row[column]))
                unit = 0.5000001 * 10**-digits
                assert mean == pytest.approx(fmean(values), abs=unit)
                truth = bootstrapped(values)
                assert (low, high) == pytest.approx(truth, abs=unit + 0.1 * (truth[1] - truth[0]))
            psnr = by_image(root, model, condition, "psnr")
            assert float(row[2]) == pytest.approx(fmean(psnr[i] - noisy[i] for i in psnr), abs=0.0050001)
            assert [model] == [r[0] for r in cells.values() if r[0] == model]
        ranked = sorted(MODELS, key=lambda model: -fmean(by_image(root, model, condition, "psnr").values()))
        assert list(cells) == ranked
        assert section.count(f"**{cells[ranked[0]][1]}**") == 1  # the best is bold
        assert len(cells["net"]) == len(head) == len(cells["median"]) + 1  # operations are counted for networks
        psnr = {model: by_image(root, model, condition, "psnr") for model in ranked}
        lines = [line.strip("| ").split(" | ") for line in each.splitlines() if line[:2] == "| "]
        assert lines[0] == ["image", *ranked] and [line[0] for line in lines[1:]] == sorted(psnr["noisy"])
        for image, *shown in lines[1:]:
            values = [f"{psnr[model][image]:.2f}" for model in ranked]
            best = max(ranked, key=lambda model: psnr[model][image])
            assert shown == [f"**{v}**" if model == best else v for model, v in zip(ranked, values, strict=True)]


@pytest.mark.slow
def test_seeds_are_those_of_the_rows(root):
    rows = read(root / "reports/evaluate/net/per_image.csv")
    table = {(row["model"], row["condition"]): row for row in read(root / "reports/comparison.csv")}
    for condition in ("sigma15", "sigma25", "sigma50"):
        means = {
            seed: fmean(float(r["psnr"]) for r in rows if (r["condition"], r["seed"]) == (condition, seed))
            for seed in ("0", "1")
        }
        own = table["net", condition]
        assert own["n_seeds"] == "2"
        assert float(own["psnr_seed_low"]) == pytest.approx(min(means.values()))
        assert float(own["psnr_seed_high"]) == pytest.approx(max(means.values()))
        assert means["0"] != means["1"]


@pytest.mark.slow
def test_every_pair_follows_from_the_rows(root):
    found = {(r["condition"], frozenset((r["better"], r["worse"]))): r for r in read(root / "reports/pairs.csv")}
    for condition in ("sigma15", "sigma25", "sigma50"):
        p = {}
        for pair in combinations(MODELS[1:], 2):
            row = found.pop((condition, frozenset(pair)))
            better, worse = (by_image(root, row[key], condition, "psnr") for key in ("better", "worse"))
            values = [better[image] - worse[image] for image in better]
            assert float(row["psnr_difference"]) == pytest.approx(fmean(values)) and fmean(values) >= 0
            truth = bootstrapped(values)
            interval = (float(row["psnr_difference_low"]), float(row["psnr_difference_high"]))
            assert interval == pytest.approx(truth, abs=0.1 * (truth[1] - truth[0]))
            assert (int(row["wins"]), int(row["n_images"])) == (sum(v > 0 for v in values), len(values))
            assert float(row["psnr_difference_sd"]) == pytest.approx(stdev(values))
            p[pair] = (stats.wilcoxon(values).pvalue, float(row["p_holm"]))
        largest = 0.0
        for n, (raw, adjusted) in enumerate(sorted(p.values())):  # Holm, step by step
            largest = max(largest, min(1, raw * (len(p) - n)))
            assert math.isclose(adjusted, largest)
    assert not found


@pytest.mark.slow
def test_the_plan_follows_from_the_rows(root):
    text = (root / "reports/report.md").read_text(encoding="utf-8")
    section = text.split("## Planning the next experiment\n")[1].split("\n## ")[0]
    lines = [
        line.strip("| ").split(" | ")
        for line in section.splitlines()
        if line.startswith("| Photos from a folder, sigma 25 |")
    ]
    spreads = []
    for a, b in combinations(MODELS[1:], 2):
        one, other = (by_image(root, model, "sigma25", "psnr") for model in (a, b))
        spreads.append(stdev(one[image] - other[image] for image in one))
    seeds = defaultdict(list)
    for row in read(root / "reports/evaluate/net/per_image.csv"):
        if row["condition"] == "sigma25":
            seeds[row["seed"]].append(float(row["psnr"]))
    shown = [f"{spread:.2f}" for spread in (median(spreads), max(spreads), stdev(map(fmean, seeds.values())))]
    assert [line[2] for line in lines] == shown
    assert [line[1] for line in lines] == ["images, median spread", "images, largest spread", "training seeds"]
    for line in lines[:2]:  # near the formula of the normal distribution
        for difference, n in zip((0.05, 0.1), line[3:], strict=False):
            assert int(n.replace(",", "")) == pytest.approx(
                (2.8016 * float(line[2]) / difference) ** 2 / 0.955, rel=0.1
            )


def reported(root: Path, gain: float) -> str:
    """report.md, had the last validation of three runs of the network raised its PSNR by `gain`."""
    scores = [20.0, 21.0, 22.0, 22.0, 22.0 + gain]
    rows = [
        {"seed": seed, "step": step, "loss": 0.1, "val_psnr": score, "val_ssim": 0.5}
        for seed in (0, 1, 2)
        for step, score in enumerate(scores, 1)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        files.write_csv(paths.history("net"), list(rows[0]), rows)
        stage_outputs.record_training("net", stage_outputs.training_cost("net"))
        report.write(config.load())
        return paths.REPORT_MD.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_headline_waits_for_a_network_that_still_improves(root, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    text = reported(copy, 0.31)
    assert "significantly better" not in text and "| net | 0.31 | **no** |" in text
    assert "**gaussian** has the highest PSNR: " in text
    assert "Not certain: net still gained 0.31 dB in the last fifth of its training." in text
    text = reported(copy, 0.05)
    assert "**gaussian** is significantly better than every other model: " in text
    assert "Not certain" not in text and "| net | 0.05 | yes |" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            {"held": 220, "published": 16_130, "verified": "no published checksum"},
            "**A sample: 220 of 16,130 images.**",
        ),
        ({"held": 68, "published": 500, "verified": "every file"}, "Whole: 500 images."),  # only some are used
        ({"held": 70_000, "published": 70_000}, "Whole: 70,000 images."),
        ({"held": 12}, ""),  # the user's own
    ],
)
def test_the_setup_states_classes_and_completeness(params, source, said):
    data = {
        "classes": {"cat": {"train": 160, "val": 20, "test": 40}},
        "splits": {"train": ["a"] * 160, "val": ["b"] * 20, "test": ["c"] * 40},
        "sources": {"afhq": {"title": "AFHQ", "licence": "x", "citation": "y"} | source},
        "leaks": [],
        "dropped": [],
        "sha256": "0" * 64,
    }
    text = _render("data_setup()", params=params, data=data)
    assert "| cat | 160 | 20 | 40 |" in text
    assert text.rstrip().endswith(said or "Cite: y.")


def test_pairs_that_do_not_fit_raise_an_alarm(params):
    assert _render("misfit_alarm()", params=params, data={"misfits": []}) == ""
    text = _render("misfit_alarm()", params=params, data={"misfits": ["7: the noisy image fits 8", "8: fits 7"]})
    assert text.startswith("> **Alarm: 2 pairs of images that do not fit.** For example: 7: the noisy image fits 8.")


def test_times_beside_other_work_are_marked(params):
    quiet, old = {"device": "CPU", "other_cores": 0.02, "cores": 2}, {"device": "CPU"}
    cost = [
        {"model": "nlm", "train": old, "infer": quiet},
        {"model": "unet", "train": {"device": "CPU", "other_cores": 1.84, "cores": 2}, "infer": old},
    ]
    text = _render("times_measured()", params=params, cost=cost)
    assert text == "Times were measured on CPU. Training ran beside other work: unet (up to 1.8 of 2 cores)."
    marks = [_render(f"beside(cost[{n}].train)", params=params, cost=cost) for n in (0, 1)]
    assert marks == ["", "; beside other work: 1.8 of 2 cores"]


def _render(call: str, **context) -> str:
    """A macro of macros.md.j2, rendered."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("denoiselab.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = sanitize.markdown
    source = f'{{% import "macros.md.j2" as macros with context %}}{{{{ macros.{call} }}}}'
    return environment.from_string(source).render(context)
