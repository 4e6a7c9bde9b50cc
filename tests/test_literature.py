"""Published numbers: every cell has a source, and is found only where set, protocol and noise are the same."""

from denoiselab import literature

SPEC = {"kind": "gaussian", "sigma_255": 25.0}


def test_every_value_has_a_source_and_is_plausible():
    values = literature.read()
    assert len(values) >= 81
    assert all(value.source.strip() for value in values)
    assert all(24 < value.psnr < 37 for value in values)


def test_a_value_is_found_by_set_protocol_and_noise():
    found = {value.method: value.psnr for value in literature.matching("BSD68", "awgn-unclipped", SPEC)}
    assert found["DnCNN-S"] == 29.23
    assert found["DRUNet"] == 29.48
    assert not literature.matching("BSD68", "awgn-clipped8", SPEC)
    assert not literature.matching("BSD100", "awgn-unclipped", SPEC)
    assert not literature.matching("BSD68", "awgn-unclipped", SPEC | {"sigma_255": 26.0})
    assert not literature.matching("BSD68", "awgn-unclipped", {"kind": "poisson", "photons": 25})


def test_where_sources_differ_the_first_counts():
    found = [v for v in literature.matching("Kodak24", "awgn-unclipped", SPEC) if v.method == "CBM3D"]
    assert [value.psnr for value in found] == [31.68]
    assert {v.psnr for v in literature.read() if (v.method, v.set, v.sigma_255) == ("CBM3D", "Kodak24", 25)} == {
        31.68,
        32.15,
    }


def test_levels_get_better_with_less_noise():
    best = {(v.method, v.set, v.sigma_255): v.psnr for v in reversed(literature.read())}
    for (method, name, sigma), psnr in best.items():
        if sigma == 25:
            assert best[method, name, 15] > psnr > best[method, name, 50]
