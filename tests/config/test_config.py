"""params.yaml: rejected settings and their error messages."""

import pytest
import yaml

from denoiselab import config
from denoiselab.runtime.errors import UserError
from pipeline import fetch
from tests.conftest import composed


def refused(tree: dict, tmp_path) -> str:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(UserError) as error:
        config.load(path)
    return str(error.value)


def changed(tree: dict, place: str, value: object) -> dict:
    *parents, key = place.split(".")
    block = tree
    for name in parents:
        block = block[name]
    block[key] = value
    return tree


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("train.stepz", 3, "train: unknown key 'stepz'; allowed: device, launcher, precision"),
        ("train.launcher", "mpirun -n 2", "train.launcher: must be torchrun with its arguments, such as"),
        ("models.unet.launcher", "torchrun '", "models.unet.launcher: no closing quotation"),
        ("train.steps", "many", "train.steps: input should be a valid integer"),
        ("train.loss", "mae", "train.loss.mae: input should be 'mse', 'l1', 'charbonnier', 'ssim' or 'perceptual'"),
        ("train.loss", {"mse": 1, "perceptual": 0.1}, "train: a perceptual loss needs `perceptual`"),
        ("train.loss", {"l1": -1}, "train.loss.l1: input should be greater than 0, not -1"),
        ("train.epochs", 10, "train: give steps or epochs, and null for the other"),
        ("train.schedule.kind", "poly", "train.schedule.kind: input should be 'cosine', 'constant', 'exponential'"),
        (
            "models.unet.needs",
            "models/vgg",
            "models.unet.needs: 'models/vgg' is not another model; add it with -S 'model=[vgg,unet]'",
        ),
        ("models.unet.init_from", "models/dncnn", "needs must be init_from, 'models/dncnn'"),
        ("models.unet.init", "he", "models.unet.init: input should be 'none', 'xavier_uniform'"),
        ("foo", 1, "unknown key 'foo'; allowed: recipe, seed, seeds, data"),
        ("data.name", "imagenet", "data.name: 'imagenet' is unknown; allowed: 'embedded', 'folder', 'pairs'"),
        (
            "data.foo",
            1,
            "data: unknown key 'foo'; allowed: watch, channels, allow_leak, drop_leaks, training, tests, test_folder",
        ),
        ("noise.train.kind", "fog", "noise.train.kind: 'fog' is unknown; allowed: 'gaussian', 'poisson'"),
        ("noise.train.sigma_255", [50, 2], "noise.train.sigma_255: the range must be [low, high]"),
        ("noise.test.sigma25.sigma_255", [5, 50], "test.sigma25.sigma_255 must be one level"),
        ("noise.test.sigma25.clip", "maybe", "noise.test.sigma25.clip: input should be True, False or 'half'"),
        ("noise.train", {"kind": "real", "clip": True, "quantise": True}, "data must be one of pairs, polyu, hair"),
        ("protocol", {"legacy_seed": True, "draws": 2}, "protocol.draws must be 1 with legacy_seed"),
        ("augment.kind", "warp", "augment.kind: 'warp' is unknown; allowed: 'd4', 'none', 'albumentations'"),
        ("models.unet.weights", "a.pth", "weights and sha256 (of the weights' file) go together"),
        ("models.unet.licence", "MIT", "licence and trained_on are those of imported weights, which are missing"),
        ("models.unet.lr", -1, "models.unet.lr: input should be greater than 0"),
        ("train.crop", 97, "train.crop: 97 is larger than patches.size, 96; null: whole patches"),
        ("models.unet.crop", 128, "models.unet.crop: 128 is larger than patches.size, 96"),
        ("noise.test.sigma25.sigma_255", 15, "test.sigma25.sigma_255 is 15, not as the name says"),
    ],
)
def test_a_mistake_is_named(tree, tmp_path, place, value, message):
    assert message in refused(changed(tree, place, value), tmp_path)


@pytest.mark.parametrize(("key", "value"), [("learning_rate", 1), ("widths", []), ("widths", [0]), ("blocks", -1)])
def test_a_mistake_of_an_architecture_is_named_before_the_download(tree, tmp_path, monkeypatch, key, value):
    changed(tree, f"models.unet.{key}", value)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch, "fetch", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(UserError, match=rf"models\.unet.*{key}"):
        fetch.main()


def test_a_key_that_a_block_does_not_have_yet_can_be_set():
    assert composed("models.unet.steps=200", "models.unet.crop=32").training("unet").steps == 200


def test_crops_are_never_larger_than_small_patches():
    params = composed("data=folder", "data.path=photos", "patches.size=48")
    assert (params.training("unet").crop, params.training("dncnn").crop) == (48, 40)


def test_a_missing_key_is_named(tree, tmp_path):
    del tree["models"]["unet"]["arch"]
    assert "models.unet.arch: missing" in refused(tree, tmp_path)


def test_two_mistakes_are_two_lines(tree, tmp_path):
    changed(changed(tree, "train.steps", 0), "seed", -1)
    assert len(refused(tree, tmp_path).splitlines()) == 2


@pytest.mark.parametrize(("mistakes", "lines"), [(10, 10), (11, 11), (50, 11)])
def test_at_most_ten_mistakes_are_named(tree, tmp_path, mistakes, lines):
    tree["train"] |= {f"key{n}": 0 for n in range(mistakes)}
    messages = refused(tree, tmp_path).splitlines()
    assert len(messages) == lines
    assert mistakes == 10 or messages[-1] == f"{tmp_path / 'params.yaml'}: and {mistakes - 10} more"


def test_not_yaml_is_one_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(UserError, match="not YAML") as error:
        config.load(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_model_overrides_train(params):
    assert params.training("unet").lr == params.models["unet"].overrides()["lr"]
    assert params.training("unet").steps == params.train.steps
    assert "lr" not in params.entry("unet").architecture()


def test_a_model_overrides_the_budget_and_single_keys_of_the_schedule(tree):
    block = tree["models"]["unet"]
    block |= {"epochs": 3, "schedule": {"kind": "exponential", "gamma": 0.5}, "loss": "l1"}
    settings = config.Params.model_validate(tree).training("unet")
    assert (settings.steps, settings.epochs) == (None, 3)
    assert (settings.schedule.kind, settings.schedule.gamma) == ("exponential", 0.5)
    assert settings.schedule.final == tree["train"]["schedule"]["final"]
    assert settings.loss == {"l1": 1.0}


def test_a_perceptual_classifier_must_be_needed(tree):
    block = tree["models"]["unet"]
    block |= {"loss": {"perceptual": 1.0}, "perceptual": {"kind": "classifier", "model": "models/dncnn"}}
    params = config.Params.model_validate(tree)
    with pytest.raises(UserError, match=r"models.unet.needs must be perceptual.model, 'models/dncnn'"):
        params.training("unet")
    block["needs"] = "models/dncnn"
    assert config.Params.model_validate(tree).training("unet").perceptual.model == "models/dncnn"


def test_an_unknown_model_is_refused_with_the_choices(params):
    with pytest.raises(UserError, match=r"unknown model 'vgg'; choose from: noisy, gaussian"):
        params.entry("vgg")


def test_keys_of_architectures_and_train_are_disjoint():
    from denoiselab import architectures

    for arch in architectures.known():
        keys = set(architectures._module(arch, "test").Config.model_fields)
        assert not keys & (set(config.Train.model_fields) | {"arch", "needs"})
