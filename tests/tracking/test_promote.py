"""Promotion: the alias moves to the better one of two models, and says why where it does not."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import mlflow
import numpy as np
import pandas as pd
import pytest

from denoiselab.app import MLFLOW_SERVICE, denoisers
from denoiselab.comparison import promotion
from denoiselab.config import load
from denoiselab.data import noisy_sets
from denoiselab.models import metadata, model_store
from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError
from denoiselab.tracking import registry, runs
from pipeline import promote
from tests import nets


@pytest.fixture(scope="module")
def trained(tmp_path_factory, migrated) -> Path:
    """A project whose trainings and evaluations are in its MLflow store."""
    root = tmp_path_factory.mktemp("promote")
    nets.workspace(root)
    shutil.copyfile(migrated, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_EXP_NAME", raising=False)
        for name in nets.STEPS:
            nets.log(name)
    return root


@pytest.fixture
def project(trained, store, monkeypatch) -> Path:
    """A copy of the trained project as the working directory, with an empty store."""
    skipped = shutil.ignore_patterns("photos", "patches", "mlflow.db", "mlartifacts")
    shutil.copytree(trained, store / "project", ignore=skipped)
    monkeypatch.chdir(store / "project")
    return store


@pytest.fixture
def workspace(trained, project) -> Path:
    """The same with a copy of its database."""
    shutil.copyfile(trained / "mlflow.db", project / "mlflow.db")
    return project


def client() -> mlflow.MlflowClient:
    return runs.connect()


def champion() -> str | None:
    aliases = client().get_registered_model("denoiselab").aliases
    return str(aliases["champion"]) if "champion" in aliases else None


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["promote", *arguments])
    promote.main()


def refused(monkeypatch, *arguments: str) -> str:
    """What the command says when it ends with exit code 1."""
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert isinstance(ended.value.code, str)  # which Python prints to stderr, and exits with 1
    return ended.value.code


@pytest.mark.slow
def test_the_better_one_of_two_nets_becomes_the_champion(workspace, monkeypatch, capsys):
    run(monkeypatch, "short")
    assert champion() == "1"
    run(monkeypatch, "long")
    assert champion() == "2"
    rows = {name: pd.read_csv(paths.evaluation(name) / "per_image.csv") for name in nets.STEPS}
    gain = rows["long"].psnr.mean() - rows["short"].psnr.mean()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("denoiselab version 1 is the champion: +") and "over the noisy input" in said[0]
    assert said[1].startswith(f"denoiselab version 2 is the champion: {gain:+.2f} [+") and "version 1" in said[1]

    assert "does not become the champion: -" in refused(monkeypatch, "short")
    assert champion() == "2" and len(client().search_model_versions("name='denoiselab'")) == 2
    run(monkeypatch, "long")
    assert "is already the champion" in capsys.readouterr().out

    tags = client().get_model_version("denoiselab", "2").tags
    assert tags["weights.sha256"] == model_store.digest(paths.model("long"))
    assert tags["model"] == "long" and tags["data"] == "folder" and tags["noise"] == "blind55"
    assert {*tags["protocol.sha256"].split()} == {*rows["long"].protocol_sha256.astype(str)}
    assert tags["psnr"].startswith(f"{rows['long'].psnr.mean():.2f} [") and tags["git.commit"]
    assert tags["promoted"].startswith(f"{gain:+.2f} [") and tags["champion.replaced"] == "1"


@pytest.mark.slow
def test_force_and_back(workspace, monkeypatch, capsys):
    run(monkeypatch, "long")
    run(monkeypatch, "--force", "short")
    tags = client().get_model_version("denoiselab", "2").tags
    assert champion() == "2" and tags["model"] == "short"
    assert tags["forced"].startswith("-") and "over the champion, version 1," in tags["forced"]
    assert "by force" in capsys.readouterr().out
    run(monkeypatch, "--back")
    assert champion() == "1"
    with pytest.raises(UserError, match="version 1 was the first champion"):
        run(monkeypatch, "--back")


@pytest.mark.slow
def test_back_undoes_one_promotion_after_another(workspace, monkeypatch):
    """It does not go to and fro between two versions that replaced each other."""
    for name in ("short", "long", "short", "long"):
        run(monkeypatch, "--force", name)
    assert champion() == "2"
    seen = []
    for _ in range(3):
        run(monkeypatch, "--back")
        seen.append(champion())
    assert seen == ["1", "2", "1"]
    with pytest.raises(UserError, match="version 1 was the first champion"):
        run(monkeypatch, "--back")
    run(monkeypatch, "long")
    run(monkeypatch, "--back")
    assert champion() == "1"  # what was undone does not come back


@pytest.mark.slow
def test_back_is_repeated_after_a_kill_in_the_middle(workspace, monkeypatch):
    for name in ("short", "long"):
        run(monkeypatch, "--force", name)
    with monkeypatch.context() as killed:
        killed.setattr(type(client()), "set_registered_model_alias", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, "--back")
    assert champion() == "2"
    run(monkeypatch, "--back")
    assert champion() == "1"
    with pytest.raises(UserError, match="version 1 was the first champion"):
        run(monkeypatch, "--back")


@pytest.mark.slow
def test_back_knows_what_was_moved_by_hand_and_what_was_deleted(workspace, monkeypatch):
    run(monkeypatch, "short")
    client().set_registered_model_tag("denoiselab", "champion.history", "")  # as a store from before has it
    run(monkeypatch, "long")
    client().set_registered_model_alias("denoiselab", "champion", "1")
    run(monkeypatch, "--back")
    assert champion() == "2"
    client().delete_model_version("denoiselab", "1")
    with pytest.raises(UserError, match="version 2 was the first champion"):
        run(monkeypatch, "--back")


@pytest.mark.slow
def test_a_version_says_how_it_became_the_champion_last(workspace, monkeypatch):
    run(monkeypatch, "long")
    run(monkeypatch, "--force", "short")
    run(monkeypatch, "--back")
    client().delete_registered_model_alias("denoiselab", "champion")
    run(monkeypatch, "short")  # better than the noisy input
    tags = client().get_model_version("denoiselab", "2").tags
    assert "promoted" in tags and "forced" not in tags and "champion.replaced" not in tags
    run(monkeypatch, "long")
    run(monkeypatch, "--force", "short")
    tags = client().get_model_version("denoiselab", "2").tags
    assert "forced" in tags and "promoted" not in tags and tags["champion.replaced"] == "1"


@pytest.mark.slow
def test_a_promotion_in_between_counts(workspace, monkeypatch):
    """Another machine makes `long` the champion while `short` is compared with the noisy input."""
    run(monkeypatch, "long")
    client().delete_registered_model_alias("denoiselab", "champion")
    judge = registry._judge

    def meanwhile(rows, compared, params):
        if compared is None:
            client().set_registered_model_alias("denoiselab", "champion", "1")
        return judge(rows, compared, params)

    monkeypatch.setattr(registry, "_judge", meanwhile)
    assert "does not become the champion: -" in refused(monkeypatch, "short")
    assert champion() == "1"


@pytest.mark.slow
def test_two_promotions_at_once_wait_for_each_other(workspace, monkeypatch):
    """Whichever comes first, the better one is the champion, and nothing is registered twice."""
    inside, most, judge = [], [], registry._judge

    def slowly(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.5)
        inside.pop()
        return judge(*arguments)

    monkeypatch.setattr(registry, "_judge", slowly)
    params = load()
    with ThreadPoolExecutor(3) as threads:
        outcomes = [
            threads.submit(registry.promote, params, name, MLFLOW_SERVICE) for name in ("short", "long", "long")
        ]
        said = [outcome.result().said for outcome in outcomes]
    assert max(most) == 1
    named = {client().get_model_version("denoiselab", champion()).tags["model"]}
    assert named == {"long"} and len(client().search_model_versions("name='denoiselab'")) == 2, said


@pytest.mark.slow
def test_other_test_images_are_refused(project, monkeypatch):
    """The champion's run holds the rows of its test images; the challenger was evaluated on other noise."""
    nets.log("short")
    run(monkeypatch, "short")
    condition = next(iter(sorted(paths.NOISY.glob("*/index.json"))))
    index = noisy_sets.KIND.read(condition, "")
    index["test"][0]["sha256"] = "0" * 64
    noisy_sets.write(condition.parent, index)
    nets.log("long")
    said = refused(monkeypatch, "long")
    assert "version 1, was tested on other images: 1 of" in said and "noisy test images differ" in said
    assert champion() == "1"


@pytest.mark.slow
def test_what_cannot_be_registered_is_named(project, monkeypatch):
    with pytest.raises(UserError, match="there is no such model; run `dvc repro evaluate@none`"):
        run(monkeypatch, "none")
    with pytest.raises(UserError, match="MLflow has no evaluated run of these weights; run `dvc repro -s -f"):
        run(monkeypatch, "short")
    card = model_store.read_card(paths.model("short"))
    metadata.KIND.write(paths.model("short") / "model.json", card | {"parameters": 0})
    with pytest.raises(UserError, match="is a method without weights; only networks that restore images"):
        run(monkeypatch, "short")
    metadata.KIND.write(paths.model("short") / "model.json", card | {"task": "classify"})
    with pytest.raises(UserError, match="is a classifier"):
        run(monkeypatch, "short")


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_named(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"MLflow: .*127\.0\.0\.1.*refused"):
        run(monkeypatch, "short")


@pytest.mark.slow
def test_the_champion_denoises_pictures(workspace, monkeypatch):
    """By its address, as `denoiselab denoise --model` takes it."""
    run(monkeypatch, "short")
    version = client().get_model_version("denoiselab", "1")
    picture = np.random.default_rng(0).random((37, 41, 3), np.float32)
    own = denoisers.load("models/short").restore(picture)
    for reference in ("models:/denoiselab@champion", "models:/denoiselab/1", f"runs:/{version.run_id}/model"):
        np.testing.assert_array_equal(denoisers.load(reference).restore(picture), own)
    with pytest.raises(UserError, match=r"models:/denoiselab@other.*alias other not found"):
        denoisers.load("models:/denoiselab@other")


def rows(psnr: list[float], **columns) -> pd.DataFrame:
    """Test images a, b, c ..., of a training that reached `psnr` on them."""
    images = [chr(ord("a") + n) for n in range(len(psnr))]
    table = pd.DataFrame({"image": images, "group": images, "psnr": psnr, "psnr_noisy": 20.0, "noisy_sha256": images})
    fixed = {"condition": "sigma25", "protocol_sha256": "1", "draw": 0, "seed": 0, "clean_sha256": "2"}
    return table.assign(**(fixed | columns))


@pytest.mark.parametrize(
    ("own", "other", "better", "said"),
    [
        (
            rows([30, 31, 29.5, 28]),
            rows([29, 30.5, 29, 27]),
            True,
            r"\+0\.75 \[\+0\.\d\d, \+\d\.\d\d\] dB over it on 4",
        ),
        (
            rows([30, 31, 29, 28]),
            rows([29, 32, 30, 27]),
            False,
            r"\+0\.00 \[-\d\.\d\d, \+\d\.\d\d\] dB over it on 4",
        ),
        (rows([30, 31]), rows([30, 31]), False, r"\+0\.00 \[\+0\.00, \+0\.00\]"),
        (rows([30, np.nan, 40]), rows([29, 30, 31]), False, "1 of its 3 outputs are not finite"),
        (rows([30, 32]), rows([29, 30]), True, r"on 2 test images, too few for a test$"),
        (rows([31]), rows([30]), False, r"\+1\.00 \(one image gives no interval\)"),
        (
            rows([29, 30, 31]),
            rows([30, np.nan, 40]),
            False,
            r"-\d\.\d\d .* on 2 .*; 1 of the 3 outputs of it are not f",
        ),
        (rows([31, 30, 41]), rows([30, np.nan, 40]), True, r"\+1\.00 \[\+1\.00, \+1\.00\] dB over it on 2"),
        (rows([20, 21]), rows([np.nan, np.nan]), True, "^2 of the 2 outputs of it are not finite$"),
        (rows([21, 22, 23]), None, True, r"\+2\.00 \["),
        (rows([19, 18, 17]), None, False, r"-2\.00 \["),
        (rows([31, 32]), rows([30, 30, 30]), False, "other images: images a, b here, a, b, c there"),
        (rows([31, 32]), rows([30, 30], condition="sigma50"), False, "conditions sigma25 here, sigma50 there"),
        (rows([31, 32]), rows([30, 30], protocol_sha256="9"), False, "protocol 1 here, 9 there"),
        (rows([31, 32]), rows([30, 30], clean_sha256="9"), False, "2 of 2 noisy test images differ"),
    ],
)
def test_the_verdict(own, other, better, said, params):
    found = promotion.judge(own, other, "it", params)
    assert found.better == better
    assert pd.Series([found.said]).str.contains(said).all(), found.said


def test_an_image_counts_once(params):
    """Two conditions of the same images are no more images: the interval is that of the images' means."""
    low, high = rows([30, 31, 29]), rows([20, 25, 24], condition="sigma50", noisy_sha256="n")
    own = pd.concat([low, high], ignore_index=True)
    other = own.assign(psnr=[29, 31, 29.5, 20, 24, 24])
    means = rows(list((low.psnr + high.psnr) / 2))
    alone = promotion.judge(means, means.assign(psnr=[24.5, 27.5, 26.75]), "it", params)
    assert promotion.judge(own, other, "it", params) == alone


def test_rows_come_back_as_they_were():
    """Hashes of digits alone are no numbers, and every digit of a score counts."""
    table = rows([29.123456789012345], protocol_sha256="012345678901", label="", noisy_sha256="1e5")
    back = promotion.parse(table.to_csv(index=False))
    pd.testing.assert_frame_equal(back[table.columns], table, check_dtype=False)
