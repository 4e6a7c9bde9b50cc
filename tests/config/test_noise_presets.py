"""Named noise and noise models with a single level."""

import pytest
import torch

from denoiselab.config import noise_presets
from denoiselab.noise import synthesis
from denoiselab.runtime import seeding
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT


def test_every_synthetic_condition_of_conf_is_listed():
    names = noise_presets.conditions(ROOT)
    assert {name.partition("/")[0] for name in names} == {p.stem for p in (ROOT / "conf/noise").glob("*.yaml")} - {
        "real",
        "hair_mix",
        "as_is",
    }
    assert noise_presets.condition("gaussian25", ROOT).sigma_255 == 25
    assert noise_presets.condition("blind55/sigma50", ROOT).sigma_255 == 50
    assert "blind55" not in names


def test_conditions_of_the_given_project_have_priority(tmp_path):
    assert noise_presets.conditions(tmp_path) == noise_presets.conditions(ROOT)
    folder = tmp_path / "conf/noise"
    folder.mkdir(parents=True)
    text = (ROOT / "conf/noise/gaussian25.yaml").read_text(encoding="utf-8")
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    assert list(noise_presets.conditions(tmp_path)) == ["mine"]


@pytest.mark.parametrize("kind", noise_presets.KINDS)
def test_the_level_of_every_kind_sets_its_strength(kind):
    clean = torch.rand((1, 3, 32, 32), generator=seeding.generator("catalogue"))
    usual, weak = (
        noise_presets.KINDS[kind].usual,
        {"poisson": 3000, "jpeg": 95, "webp": 95, "poisson_gaussian": 50, "camera": 50},
    )
    weaker = weak.get(kind, noise_presets.KINDS[kind].usual / 10)

    def error(level: float | None) -> float:
        return (
            (synthesis.add(clean, seeding.generator(kind), noise_presets.of_kind(kind, level), None) - clean)
            .square()
            .mean()
        )

    assert error(None) == error(usual) > 0
    if kind == "downscale":
        assert error(8) > error(2)
    else:
        assert error(weaker) < error(usual)


def test_unknown_names_and_levels_are_refused():
    with pytest.raises(UserError, match="noise 'gaussian99' is unknown; choose from: animals_05, blind55/sigma15, "):
        noise_presets.condition("gaussian99", ROOT)
    with pytest.raises(UserError, match="noise kind 'gauss' is unknown; choose from: gaussian, poisson, "):
        noise_presets.of_kind("gauss")
    with pytest.raises(UserError, match="noise jpeg of 200: quality: input should be less than or equal to 100"):
        noise_presets.of_kind("jpeg", 200)
    with pytest.raises(UserError, match="noise gaussian of -1: sigma_255: input should be greater than or equal to 0"):
        noise_presets.of_kind("gaussian", -1)


def test_named_noise_needs_a_project(tmp_path, monkeypatch):
    monkeypatch.setattr(noise_presets, "PROJECT", tmp_path)
    assert noise_presets.conditions(tmp_path) == {}
    with pytest.raises(UserError, match="named noise needs a clone"):
        noise_presets.condition("gaussian25", tmp_path)
