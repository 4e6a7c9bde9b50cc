"""The leaderboard: grouping, equal results, differing parameters, and the page after a queue of experiments."""

import copy
import hashlib
import io
import json
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from denoiselab.comparison.verdicts import Training
from denoiselab.report import leaderboard
from denoiselab.report.leaderboard import ranking, settings, sources
from denoiselab.runtime.errors import UserError
from tests.projects import TINY, call, dvc, make_project, runs, setting

PSNR = {"noisy": [20.0, 20.2, 20.4], "unet": [30.0, 31.0, 33.0], "dncnn": [29.0, 30.5, 32.0]}
PER_IMAGE = "reports/evaluate/gaussian/per_image.csv"
PROTOCOL = {"protocol": "awgn-unclipped", "protocol_sha256": "123456e78901"}  # not a number


def images(psnr: dict, **columns) -> pd.DataFrame:
    fixed = {"condition": "sigma25", **PROTOCOL, "sets": "a b", "label": "", "draw": 0, "seed": 0} | columns
    scores = [(model, f"i{n}", value) for model, values in psnr.items() for n, value in enumerate(values)]
    rows = pd.DataFrame(scores, columns=["model", "image", "psnr"]).assign(**fixed)
    return rows.assign(group=rows.image, ssim=rows.psnr / 40, mse=10 ** (-rows.psnr / 10))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    records = []
    for model, own in rows.groupby("model", sort=False):
        record = {"model": model, "set": "a", **own.iloc[0][["condition", "protocol", "protocol_sha256"]]}
        for score in ("psnr", "ssim", "mse"):
            mean = own[score].mean()
            record |= {f"{score}_mean": mean, f"{score}_low": 0.9 * mean, f"{score}_high": 1.1 * mean}
        record |= {"psnr_gain": own.psnr.mean() - 20.2, "parameters": 7, "n_images": len(own)}
        records.append(record | {"n_groups": 1, "n_draws": 1, "n_identical": 0})
    return pd.DataFrame(records)


@pytest.fixture
def made(tree):
    """made(name, psnr, {dotted key: value}, data_md5, **columns): an experiment with these changes to params.yaml."""

    def make(name, psnr=PSNR, changes=None, data_md5="d0", trainings=None, **columns):
        params = copy.deepcopy(tree)
        params["models"] = {model: params["models"][model] for model in psnr}
        for key, value in (changes or {}).items():
            *parents, last = key.split(".")
            place = params
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        specs = {condition: json.dumps(spec, sort_keys=True) for condition, spec in params["noise"]["test"].items()}
        rows = images(psnr, **columns)
        return sources.Experiment(name, "abcdef0", params, data_md5, specs, table(rows), rows, trainings or {})

    return make


def test_a_result_shared_by_experiments_is_one_row(made):
    changes = {"models.unet.lr": 0.01}
    (group,) = ranking.groups([made("one"), made("two", {**PSNR, "unet": [31.0, 32.0, 34.0]}, changes)])
    assert [(row.model, row.experiments) for row in group.rows] == [
        ("unet", ["two"]),
        ("unet", ["one"]),
        ("dncnn", ["one", "two"]),
        ("noisy", ["one", "two"]),
    ]
    assert [row.differing for row in group.rows] == [{"lr": "0.01"}, {"lr": "0.002"}, {}, {}]


def test_equal_scores_with_different_params_are_two_rows(made):
    (group,) = ranking.groups([made("one"), made("two", changes={"train.weight_decay": 0.5})])
    rows = [(row.model, row.experiments, row.differing) for row in group.rows]
    assert ("unet", ["one"], {"train.weight_decay": "0.0001"}) in rows
    assert ("unet", ["two"], {"train.weight_decay": "0.5"}) in rows
    assert ("noisy", ["one", "two"], {}) in rows  # nothing is trained


@pytest.mark.parametrize(
    "other",
    [
        {"data_md5": "d1"},
        {"protocol": "awgn-clipped8"},
        {"protocol_sha256": "000000000000"},
        {"changes": {"noise.test.sigma25.sigma_255": 26}},
        {"changes": {"data.name": "bsds500"}},
    ],
    ids=["data hash", "protocol", "protocol hash", "level", "data name"],
)
def test_results_that_are_not_comparable_have_separate_tables(made, other):
    groups = ranking.groups([made("one"), made("two", **other)])
    assert [{name for row in group.rows for name in row.experiments} for group in groups] in (
        [{"one"}, {"two"}],
        [{"two"}, {"one"}],
    )
    assert len(set(leaderboard._titles(groups))) == 2


def test_the_lead_is_the_paired_difference(made):
    (group,) = ranking.groups([made("one")])
    assert [row.model for row in group.rows] == ["unet", "dncnn", "noisy"]
    assert group.lead.refused is None
    paired = group.lead.paired
    assert paired.interval.mean == pytest.approx(np.mean([1.0, 0.5, 1.0]))
    assert 0.5 <= paired.interval.low < paired.interval.mean < paired.interval.high <= 1.0
    assert (paired.wins, paired.images) == (3, 3)
    assert group.lead.doubts == ["3 images are too few to test the difference"]


def test_the_verdict_needs_enough_images_and_the_test(made):
    spread = np.linspace(0, 0.1, 12)
    psnr = {"noisy": [20.0] * 12, "unet": list(30 + spread), "dncnn": list(29.9 - spread)}
    (group,) = ranking.groups([made("one", psnr)])
    assert group.lead.doubts == []
    (group,) = ranking.groups([made("one", psnr, trainings={"dncnn": Training((0.3,))})])
    assert group.lead.doubts == [
        "one training seed",
        "dncnn (one) still gained 0.30 dB in the last fifth of its training",
    ]
    (group,) = ranking.groups([made("one", psnr | {"dncnn": list(30 - spread + np.tile([-1, 1.05], 6))})])
    assert group.lead.doubts == ["the difference from dncnn (one) is not significant"]


@pytest.mark.parametrize(("other", "said"), [({"draw": 1}, "draws of the noise"), ({"changes": {"seed": 1}}, "seeds")])
def test_different_noise_is_not_paired(made, other, said):
    ahead = {"unet": [33.0, 34.0, 35.0]}
    (group,) = ranking.groups([made("one", {"dncnn": PSNR["dncnn"]}), made("two", ahead, **other)])
    assert group.lead.refused == f"their {said} differ"
    assert group.lead.paired is None and group.lead.doubts == []
    assert group.lead.by == pytest.approx(34.0 - 30.5)


def test_different_images_are_not_paired(made):
    (group,) = ranking.groups([made("one", {"dncnn": [1.0, 2.0]}), made("two", {"unet": PSNR["unet"]})])
    assert group.lead.refused == "their images differ"


def test_params_that_affect_a_model(tree):
    tree["models"]["unet"] |= {"schedule": {"final": 0.5}, "epochs": 3}
    found = settings.effective(tree, "unet")
    assert found["models.unet.lr"] == 0.002 and "train.lr" not in found
    assert found["models.unet.schedule.final"] == 0.5 and "train.schedule.final" not in found
    assert found["train.schedule.kind"] == "cosine"
    assert "train.steps" not in found  # the model's epochs replace it
    assert not [key for key in found if key.startswith(("tune", "recipe", "data", "models.dncnn"))]
    classical = settings.effective(tree, "nlm")
    assert "train.val_patches" in classical and "train.batch" not in classical and "augment.kind" not in classical
    tree["models"]["guided"] = {"arch": "guided_unet", "needs": "models/unet"}
    assert settings.effective(tree, "guided")["models.unet.lr"] == 0.002  # the model it needs


def test_params_that_differ():
    noise = {"noise.name": "blind55", "noise.train.sigma_255": [0, 55]}
    rows = [
        ("unet", {"models.unet.lr": 1, "seed": 0, "noise.name": "gaussian25", "noise.train.sigma_255": 25}),
        ("unet", {"train.lr": 2, "seed": 0, **noise}),
        ("dncnn", {"models.dncnn.lr": 3, "seed": 0, **noise}),
        ("noisy", {"seed": 0}),
    ]
    assert settings.differing(rows) == [
        {"lr": "1", "noise.name": "gaussian25"},
        {"train.lr": "2", "noise.name": "blind55"},
        {"noise.name": "blind55"},
        {},
    ]
    rows[1][1]["noise.train.sigma_255"] = [0, 50]  # the name no longer implies it
    assert settings.differing(rows)[2] == {"noise.name": "blind55", "noise.train.sigma_255": "[0, 55]"}


@pytest.fixture
def stored(made):
    """An experiment as files, and their entries in dvc.lock."""
    one = made("one", {"noisy": PSNR["noisy"]})
    texts = {
        "params.yaml": yaml.safe_dump(one.params),
        "reports/comparison.csv": one.table.to_csv(index=False),
        "reports/evaluate/noisy/per_image.csv": one.images.to_csv(index=False),
        "reports/train/noisy.csv": "seed,step,val_psnr,val_ssim\n0,0,20.2,0.5\n",
    }
    files = {name: text.encode() for name, text in texts.items()}
    outs = [{"path": name, "md5": hashlib.md5(content).hexdigest()} for name, content in files.items()]
    raw = {"path": "data/raw", "md5": "d0.dir"}
    lock = {"patchify": {}, "add-noise": {}, "train@noisy": {"outs": outs[3:]}}
    lock["fetch"] = {"outs": [raw], "params": {"params.yaml": {"data": one.params["data"]}}}
    lock["evaluate@noisy"] = {"deps": [raw], "outs": outs[2:3], "params": {"params.yaml": {"data.channels": 3}}}
    lock["compare"] = {"deps": [raw], "outs": outs[1:2]}
    return files, lock


def read(files: dict, lock: dict) -> sources.Experiment:
    everything = files | {"dvc.lock": yaml.safe_dump({"stages": lock}).encode()}

    def content(path: str) -> bytes:
        if path not in everything:
            raise FileNotFoundError(path)
        return everything[path]

    return sources.experiment("one", "", content)


def test_an_experiment_is_read_from_its_files(stored, made):
    found, expected = read(*stored), made("one", {"noisy": PSNR["noisy"]}, data_md5="d0.dir")
    assert found.params == expected.params and found.data_md5 == "d0.dir"
    pd.testing.assert_frame_equal(found.table, expected.table)
    assert list(found.images.protocol_sha256) == ["123456e78901"] * 3 and found.trainings == {}


def test_an_experiment_without_its_own_comparison_is_refused(stored):
    files, lock = stored
    with pytest.raises(UserError, match="stage compare was not run"):
        read(files, {k: v for k, v in lock.items() if k != "compare"})
    with pytest.raises(UserError, match=r"reports/comparison\.csv is missing"):
        read({k: v for k, v in files.items() if k != "reports/comparison.csv"}, lock)
    with pytest.raises(UserError, match=r"reports/comparison\.csv differs from dvc\.lock"):
        read(files | {"reports/comparison.csv": files["reports/comparison.csv"] + b"\n"}, lock)
    with pytest.raises(UserError, match=r"stage evaluate@noisy was not run with the current data\.channels"):
        read(
            files | {"params.yaml": files["params.yaml"].replace(b"channels: 3", b"channels: 1")}, lock | {"fetch": {}}
        )
    with pytest.raises(UserError, match="stage evaluate@noisy was not run with the current data/raw"):
        read(files, lock | {"fetch": {"outs": [{"path": "data/raw", "md5": "d1.dir"}]}})


def test_the_page_names_the_best(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [
        made("one", {"dncnn": PSNR["dncnn"]}),
        made("two", {"unet": PSNR["unet"]}, {"augment.kind": "a|b", "seed": 1}),
        made("three", {"unet": [29.0, 31.0, 29.0]}, data_md5="d1"),
        made("four", {"dncnn": [29.5, 30.0, 30.0]}, data_md5="d1"),
        made("five", {"unet": PSNR["unet"]}, protocol="awgn-clipped8"),
    ]
    monkeypatch.setattr(sources, "gather", lambda: (found, [sources.Unfinished("six", "stage compare was not run")]))
    leaderboard.write()
    page = (tmp_path / "reports/leaderboard/leaderboard.md").read_text(encoding="utf-8")
    said = [line.partition(":** ")[2] for line in page.splitlines() if line.startswith("> ")]
    assert said[0] == "**unet (five)** is the only result."
    assert said[1] == (
        "**unet (two)** has the highest PSNR: 0.83 dB above dncnn (one) on average. A paired comparison is impossible: "
        "their seeds differ. Intervals of the two means: 28.20 to 34.47 and 27.45 to 33.55."
    )
    assert said[2].startswith(
        "**dncnn (four)** has the highest PSNR: 0.17 dB above unet (three) (95 % interval of the paired difference "
    )
    assert said[2].endswith("), on 2 of 3 images. Not certain: 3 images are too few to test the difference.")
    assert "(2 of 2, not comparable)" in page
    assert "| six | stage compare was not run |" in page
    assert "| 3 | seed `1`, augment.kind `a\\|b` |" in page


def test_a_folder_without_a_repository_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=str(tmp_path)):
        leaderboard.write()


def finish_queue(project, tasks: int) -> None:
    dvc(project, "queue", "start", "-j", "2")
    deadline = time.monotonic() + 400
    while (status := dvc(project, "queue", "status")).count("Success") + status.count("Failed") < tasks:
        assert time.monotonic() < deadline, status
        time.sleep(2)


@pytest.mark.slow
def test_the_page_after_a_queue_of_experiments(tmp_path):
    project = make_project(tmp_path)
    base = [*TINY, "model=gaussian"]
    dvc(project, "exp", "run", "-n", "weak", *setting([*base, "models.gaussian.strengths=[0.3,0.4]"]))
    dvc(project, "exp", "run", "--queue", *setting(base), "-S", "noise=gaussian25,gaussian50")
    dvc(project, "exp", "run", "--queue", "-n", "lost", *setting([*base, "data=folder", "data.path=/nowhere"]))
    finish_queue(project, 3)  # with what the first one left in DVC's cache
    dvc(project, "exp", "run", "--temp", "-n", "begun", *setting([*base, "seed=1"]), "patchify")
    call(project, sys.executable, "-m", "pipeline.leaderboard")

    board = pd.read_csv(project / "reports/leaderboard/leaderboard.csv")
    page = (project / "reports/leaderboard/leaderboard.md").read_text(encoding="utf-8")
    assert [list(group.model) for _, group in board.groupby("condition")] == [
        ["gaussian", "gaussian", "noisy"],
        ["gaussian", "noisy"],
    ]
    best, weak, noisy = (row for row in board[board.condition == "sigma25"].itertuples())
    assert weak.experiments == "workspace weak" and weak.params == "strengths [0.3, 0.4]"
    assert set(noisy.experiments.split()) == {*weak.experiments.split(), best.experiments}
    assert board.data_md5.nunique() == 1 and set(board.data) == {"embedded"}

    theirs = call(project, "git", "show", f"{experiment(project, best.experiments)}:{PER_IMAGE}")
    mine = (project / PER_IMAGE).read_text()
    psnr = [pd.read_csv(io.StringIO(text)).psnr for text in (theirs, mine)]
    assert best.psnr_mean == pytest.approx(psnr[0].mean())
    differences = np.subtract(*psnr)
    assert f"has the highest PSNR: {differences.mean():.2f} dB above gaussian (workspace and 1 more) (" in page
    assert (
        f"), on {(differences > 0).sum()} of 4 images. Not certain: 4 images are too few to test the difference."
        in page
    )
    assert "| lost | Failed in the queue |" in page
    assert "| begun | stage " in page
    assert f"{best.psnr_mean:.2f} [" in (project / "reports/leaderboard/leaderboard.html").read_text(encoding="utf-8")

    _, found = runs(project)  # MLflow's compare view has the same numbers under the same names
    scores = {run.data.tags["dvc.exp_name"]: run.data for run in found if run.data.tags["model"] == "gaussian"}
    for row in board[board.model == "gaussian"].itertuples():
        own = scores[row.experiments.split()[-1]]
        assert own.metrics[f"test/{row.condition}/psnr"] == pytest.approx(row.psnr_mean)
        assert (own.tags["data"], own.tags["noise"]) == (row.data, row.condition.replace("sigma", "gaussian"))


def experiment(project, name: str) -> str:
    """The commit of an experiment."""
    refs = call(project, "git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    return next(ref.split()[0] for ref in refs if ref.endswith(f"/{name}"))
