"""Published results: every value has a source, and is found only for the same test set, protocol and noise."""

from types import SimpleNamespace

import pandas as pd
import pytest
from pydantic import ValidationError

from denoiselab.comparison import aggregate, published_results
from denoiselab.config import Params
from denoiselab.data import noisy_sets
from tests.conftest import composed

SPEC = {"kind": "gaussian", "sigma_255": 25.0}


def test_every_value_has_a_source_and_is_plausible():
    values = published_results.read()
    assert len(values) >= 81
    assert all(value.source.strip() for value in values)
    assert all(24 < value.psnr < 37 for value in values)


def test_a_value_is_found_by_set_protocol_and_noise():
    found = {value.method: value.psnr for value in published_results.matching("BSD68", 1, "awgn-unclipped", SPEC)}
    assert found["DnCNN-S"] == 29.23
    assert found["DRUNet"] == 29.48
    assert not published_results.matching("BSD68", 1, "awgn-clipped8", SPEC)
    assert not published_results.matching("BSD100", 1, "awgn-unclipped", SPEC)
    assert not published_results.matching("BSD68", 1, "awgn-unclipped", SPEC | {"sigma_255": 26.0})
    assert not published_results.matching("BSD68", 1, "awgn-unclipped", {"kind": "poisson", "photons": 25})


def test_values_of_colour_images_are_not_those_of_gray_ones():
    colour = published_results.matching("Kodak24-500x500", 3, "awgn-unclipped", SPEC)
    assert "CBM3D" in {value.method for value in colour}
    assert not published_results.matching("Kodak24-500x500", 1, "awgn-unclipped", SPEC)


def test_values_of_crops_are_not_those_of_whole_photographs():
    assert not published_results.matching("Kodak24", 3, "awgn-unclipped", SPEC)


@pytest.mark.parametrize(("sigma_255", "found"), [(25, "DnCNN-S"), (15, None)])
def test_a_network_for_one_level_is_compared_at_that_level_only(tree_of_imported, monkeypatch, sigma_255, found):
    params = tree_of_imported(sigma_255)
    spec = params.noise.test["sigma25"].model_dump(mode="json")
    monkeypatch.setattr(noisy_sets, "read", lambda root, condition: SimpleNamespace(spec=spec))
    rows = pd.DataFrame({"draw": [0, 0, 1, 1], "psnr": [28.0, 30.0, 29.0, 31.0]})
    value = aggregate._published(params, "dncnn25_kair", "BSD68", "sigma25", "awgn-unclipped", rows)
    assert value["published_method"] == found
    if found:
        assert value["minus_published"] == pytest.approx(29.5 - 29.23)
        spread = 0.5**0.5  # standard deviation of two draws, 29 and 30 dB
        assert value["published_halfwidth"] == pytest.approx(12.706 * spread * 1.5**0.5, rel=1e-3)


@pytest.fixture
def tree_of_imported():
    """Parameters with imported weights and their training sigma, or None if it is not stated."""

    def params(sigma_255):
        tree = composed("recipe=published_dncnn").model_dump(mode="json", exclude_unset=True)
        own = tree["models"]["dncnn25_kair"]
        own["noise"] = own["noise"] | {"sigma_255": sigma_255} if sigma_255 else None
        return Params.model_validate(tree)

    return params


def test_a_method_for_one_level_needs_the_noise_of_the_weights(tree_of_imported):
    with pytest.raises(ValidationError, match="published DnCNN-S is for one noise level: add noise"):
        tree_of_imported(None)


def test_the_first_of_contradictory_sources_counts():
    found = [v for v in published_results.matching("Kodak24-500x500", 3, "awgn-unclipped", SPEC) if v.method == "CBM3D"]
    assert [value.psnr for value in found] == [31.68]
    where = "CBM3D", "Kodak24-500x500", 25
    assert {v.psnr for v in published_results.read() if (v.method, v.set, v.sigma_255) == where} == {31.68, 32.15}


def test_psnr_rises_with_less_noise():
    best = {(v.method, v.set, v.sigma_255): v.psnr for v in reversed(published_results.read())}
    for (method, name, sigma), psnr in best.items():
        if sigma == 25:
            assert best[method, name, 15] > psnr > best[method, name, 50]
