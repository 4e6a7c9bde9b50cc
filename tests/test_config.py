"""params.yaml: what is refused, and in which words."""

import pytest
import yaml

from denoiselab import config


def refused(tree: dict, tmp_path) -> str:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ValueError) as error:
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
    ("place", "value", "said"),
    [
        ("train.stepz", 3, "train: unknown key 'stepz'; allowed: device, precision"),
        ("train.steps", "many", "train.steps: input should be a valid integer"),
        ("train.loss", "mae", "train.loss: input should be 'mse', 'l1' or 'charbonnier', not 'mae'"),
        ("foo", 1, "unknown key 'foo'; allowed: seed, data"),
        ("data.name", "imagenet", "data.name: 'imagenet' is unknown; allowed: 'embedded', 'folder', 'pairs'"),
        ("data.foo", 1, "data: unknown key 'foo'; allowed: watch, channels, allow_leak, drop_leaks, name"),
        ("noise.train.kind", "fog", "noise.train.kind: 'fog' is unknown; allowed: 'gaussian', 'poisson'"),
        ("noise.train.sigma_255", [50, 2], "noise.train.sigma_255: the range must be [low, high]"),
        ("noise.test.sigma25.sigma_255", [5, 50], "test.sigma25.sigma_255 must be one level"),
        ("noise.test.sigma25.clip", "maybe", "noise.test.sigma25.clip: input should be a valid boolean"),
        ("noise.train", {"kind": "real", "clip": True, "quantise": True}, "data must be one of pairs, polyu, hair"),
        ("protocol", {"legacy_seed": True, "draws": 2}, "protocol.draws must be 1 with legacy_seed"),
        ("augment.kind", "warp", "augment.kind: 'warp' is unknown; allowed: 'd4', 'none', 'albumentations'"),
        ("models.unet.weights", "a.pth", "weights and sha256 (of the weights' file) go together"),
        ("models.unet.lr", -1, "models.unet.lr: input should be greater than 0"),
    ],
)
def test_a_mistake_is_named(tree, tmp_path, place, value, said):
    assert said in refused(changed(tree, place, value), tmp_path)


def test_a_missing_key_is_named(tree, tmp_path):
    del tree["models"]["unet"]["arch"]
    assert "models.unet.arch: missing" in refused(tree, tmp_path)


def test_two_mistakes_are_two_lines(tree, tmp_path):
    changed(changed(tree, "train.steps", 0), "seed", -1)
    assert len(refused(tree, tmp_path).splitlines()) == 2


def test_not_yaml_is_one_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(ValueError, match="not YAML") as error:
        config.load(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_model_overrides_train(params):
    assert params.training("unet").lr == params.models["unet"].overrides()["lr"]
    assert params.training("unet").steps == params.train.steps
    assert "lr" not in params.entry("unet").architecture()


def test_an_unknown_model_lists_the_known(params):
    with pytest.raises(ValueError, match=r"unknown model 'vgg'; in params.yaml: noisy, gaussian"):
        params.entry("vgg")


def test_no_architecture_has_a_key_of_train():
    from denoiselab import models

    for arch in models.known():
        keys = set(models._module(arch, "test").Config.model_fields)
        assert not keys & (set(config.Train.model_fields) | {"arch", "needs"})
