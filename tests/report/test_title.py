"""Titles in words."""

import pytest

from denoiselab.data.noisy_sets import Condition
from denoiselab.metrics.protocols import Protocol
from denoiselab.report.title import title, titles

GAUSSIAN = {"kind": "gaussian", "sigma_255": 25, "per_channel": True, "clip": False, "quantise": False}
CLIPPED = GAUSSIAN | {"clip": True, "quantise": True}
STEPPED = GAUSSIAN | {"quantise": True}
RANGE = GAUSSIAN | {"sigma_255": (0, 55)}
REAL = {"kind": "real", "clip": True, "quantise": True}
SALT = {"kind": "salt_pepper", "amount": 0.2, "salt": 0.5, "per_channel": True, "clip": True, "quantise": True}
CAMERA = {"kind": "poisson_gaussian", "gain": 4, "read_noise": 3, "clip": True, "quantise": True}
CHAIN = {"kind": "chain", "clip": True, "quantise": True, "steps": [GAUSSIAN, SALT]}


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"sigma25": GAUSSIAN}, ["sigma 25"]),
        ({"sigma25": GAUSSIAN, "clipped25": CLIPPED}, ["sigma 25", "sigma 25, clipped"]),
        ({"a": GAUSSIAN, "b": STEPPED, "c": REAL}, ["a", "b", "real noise"]),  # one text for two: their names
        ({"blind": RANGE, "harder": CHAIN, "bright": CAMERA}, ["blind", "harder", "bright"]),
        ({"sp20": SALT}, ["salt-and-pepper noise on 20 %"]),
    ],
)
def test_a_condition_of_a_known_kind_is_in_words(specs, words):
    found = titles(Condition(name, Protocol("p", {}), spec, 25.0, False) for name, spec in specs.items())
    assert [found.conditions[name] for name in specs] == words
    name, first = next(iter(found.conditions.items()))
    assert found.of("embedded", name) == f"Built-in photos, {first}"
    assert found.of("CBSD68", name) == f"CBSD68, {first}" and found.places([("s", name)])[f"s, {name}"] == f"s, {first}"


def test_the_title_names_noise_and_images():
    assert title([GAUSSIAN, CLIPPED], {"embedded": 4, "Kodak24": 24, "polyu": 1}) == (
        "Best denoiser for Gaussian noise (sigma 25) on 4 built-in photos, 24 Kodak24 images and 1 PolyU image"
    )
