"""Every recipe of a published system, at small size; its report describes the original."""

import os
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from denoiselab.runtime import files
from tests.conftest import composed
from tests.projects import make_project, mirrored, reproduce

SMALL = [
    "train.steps=4",
    "train.epochs=null",
    "train.warmup_steps=0",
    "train.validate_every=2",
    "train.val_patches=4",
    "evaluate.samples=1",
    "evaluate.curve.images=1",
    "evaluate.resamples=100",
]
FEW = ["data.limit.train=60", "data.limit.val=20", "data.limit.test=20"]
GUIDED = ["unet_small", "unet_equal", "classifier_cnn", "classifier_resnet", "cnn_unet"]
GUIDED += ["guided_zeroed", "guided_shuffled", "guided_oracle"]
SHORT = ["steps=4", "validate_every=2"]
RECIPES = {  # only the models of the original; the others are tested elsewhere
    "hair": [*FEW, "model=dncnn_hair", *(f"models.dncnn_hair.{budget}" for budget in SHORT)],
    "stl10": [*FEW, f"model=[{','.join(GUIDED)}]"],
    "stl10_harder": [*FEW, "model=[classifier_cnn,cnn_unet]"],
    "animals": [*FEW, "model=unet_classic"],
    "animals_sr": FEW,
    "faces": [*FEW, "model=pixelshuffle_unet"],
    "bsds500": [  # a network of an eighth of the width, as it runs on all 100 test images
        *("data.val_images=4", "model=dncnn_bsds", "models.dncnn_bsds.features=8"),
        *(f"models.dncnn_bsds.{budget}" for budget in SHORT),
    ],
}
EXACT = {  # trainable parameters with the original settings
    "hair": {"dncnn_hair": 744_963},
    "stl10": {
        "cnn": 186_688,
        "cnn_nobn": 186_371,
        "cae": 107_491,
        "cae_nobn": 107_171,
        "unet_small": 1_942_608,
        "unet_small_nobn": 1_941_139,
        "cnn_unet": 2_030_160,
        "resnet_unet": 2_030_160,
        "guided_oracle": 2_030_160,
        "classifier_cnn": 1_514_954,
        "classifier_resnet": 699_945,
    },
    "animals": {"unet_classic": 31_037_763},
    "animals_sr": {"sr_finetuned": 31_037_763},
    "faces": {"pixelshuffle_unet": 13_361_747},
    "bsds500": {"dncnn_bsds": 633_475},
}
ORIGINAL = {  # (keys of train as the original had them)
    "hair": {"lr": 3e-4, "betas": (0.5, 0.999), "batch": 32, "epochs": 100},
    "stl10": {"lr": 1e-3, "betas": (0.9, 0.999), "batch": 64, "epochs": 10},
    "stl10_harder": {"lr": 1e-3, "batch": 64, "epochs": 10},
    "animals": {"lr": 1e-3, "batch": 16, "epochs": 10},
    "animals_sr": {"batch": 16, "epochs": 10},
    "faces": {"lr": 3e-3, "batch": 16, "epochs": 20},
    "bsds500": {"lr": 1e-3, "epochs": 30},
}


@pytest.mark.parametrize("train", ["cpu", "paper"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_accepts_other_models(recipe, train):
    assert list(composed(f"recipe={recipe}", f"train={train}", "model=unet").models) == ["noisy", "unet"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_train_paper_has_the_original_settings(recipe):
    from denoiselab import architectures
    from denoiselab.models import model_store

    params = composed(f"recipe={recipe}", "train=paper")
    for name, count in EXACT.get(recipe, {}).items():
        assert model_store.parameters(architectures.outline(params.entry(name).architecture())) == count
    for name in params.models:
        settings = params.training(name)
        if name in EXACT.get(recipe, {}) and name != "sr_finetuned":
            assert {key: getattr(settings, key) for key in ORIGINAL[recipe]} == ORIGINAL[recipe]
            assert settings.optimizer == "adam"
    if recipe == "bsds500":
        schedule = params.training("dncnn_bsds").schedule
        assert (schedule.kind, schedule.gamma) == ("exponential", 0.95)


def test_control_models_are_as_large_as_the_models_they_control():
    from denoiselab import architectures
    from denoiselab.models import model_store

    for train in ("cpu", "paper"):
        params = composed("recipe=stl10", f"train={train}")
        equal, guided = (
            model_store.parameters(architectures.outline(params.entry(name).architecture()))
            for name in ("unet_equal", "cnn_unet")
        )
        assert equal == pytest.approx(guided, rel=0.002)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return make_project(tmp_path_factory.mktemp("recipes"))


@mirrored
@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("DENOISELAB_MIRROR", "")) / "../samples").is_dir(), reason="no samples next to the mirror"
)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs(project, recipe):
    reproduce(project, f"recipe={recipe}", *SMALL, *RECIPES[recipe])
    report = (project / "reports/report.md").read_text(encoding="utf-8")
    assert "## The original" in report
    table = pd.read_csv(project / "reports/comparison.csv")
    params = composed(f"recipe={recipe}", *RECIPES[recipe])
    cards = {name: files.read_json(project / "models" / name / "model.json") for name in params.models}
    classifiers = {name for name, card in cards.items() if card["task"] == "classify"}
    assert set(table.model) == {*params.models} - classifiers
    for name, card in cards.items():
        if card["parameters"] and name not in classifiers:
            assert (project / f"reports/photos/progress-{name}.webp").stat().st_size > 1000
    if recipe.startswith("stl10"):
        _guidance(project, report, classifiers)
    if recipe == "animals_sr":
        assert cards["sr_finetuned"]["init_from"] == "models/sr_denoiser"
        assert set(table.condition) == {"x2", "x4"}
        assert cards["sr_denoiser"]["noise"]["train"]["kind"] == "gaussian"


def _guidance(project: Path, report: str, classifiers: set[str]) -> None:
    """Classifiers are in the report, and a guided model contains the exact weights of its classifier."""
    assert "classifier_cnn" in classifiers
    for name in classifiers:
        assert f"| {name} | CIFAR-10, " in report
        rows = pd.read_csv(project / f"reports/evaluate/{name}/per_image.csv")
        accuracy = files.read_json(project / f"reports/evaluate/{name}/metrics.json")[rows.condition[0]]["accuracy"]
        assert accuracy == pytest.approx((rows.label == rows.predicted).mean())
    own = load_file(project / "models/classifier_cnn/best_accuracy.safetensors")
    inside = load_file(project / "models/cnn_unet/best_psnr.safetensors")
    kept = {k.removeprefix("classifier."): v for k, v in inside.items() if k.startswith("classifier.")}
    assert kept.keys() == own.keys()
    assert all((kept[key] == own[key]).all() for key in own)  # BatchNorm statistics, too
