"""Protocols: names, and what the hash depends on."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from denoiselab.config import Protocol as Settings
from denoiselab.config.noise import NoiseSpec
from denoiselab.metrics import protocols

SPECS: TypeAdapter = TypeAdapter(NoiseSpec)
GAUSSIAN = {"kind": "gaussian", "sigma_255": 25, "per_channel": True, "clip": False, "quantise": False}
SALT = {"kind": "salt_pepper", "amount": 0.1, "salt": 0.5, "per_channel": True, "clip": False, "quantise": False}


def of(
    kind: str = "gaussian", *, legacy: bool = False, draws: int = 1, clip=False, quantise=False, dtype="uint8", **fields
):
    defaults = {"sigma_255": 25, "per_channel": True} if kind == "gaussian" else {}
    spec = SPECS.validate_python({"kind": kind, "clip": clip, "quantise": quantise} | defaults | fields)
    return protocols.of(spec, Settings(legacy_seed=legacy, draws=draws), np.dtype(dtype))


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (of(), "awgn-unclipped"),
        (of(clip=True), "awgn-clipped"),
        (of(clip=True, quantise=True), "awgn-clipped8"),
        (of(quantise=True), "awgn-quantised"),
        (of(per_channel=False), "gaussian-unclipped"),
        (of("real", clip=True, quantise=True), "real-pairs"),
        (
            of("chain", clip=True, quantise=True, steps=[GAUSSIAN, SALT | {"clip": True, "quantise": True}]),
            "gaussian+salt-pepper-clipped8",
        ),
        (of("sometimes", p=0.5, noise=SALT), "salt-pepper-unclipped"),
        (of("poisson_gaussian", gain=1, read_noise=1, clip=True, quantise=True), "poisson-gaussian-clipped8"),
        (of(clip=True, quantise=True, dtype="uint16"), "awgn-clipped16-16bit"),
        (of(clip=True, quantise=True, dtype="float32"), "awgn-clipped-float"),
        (of("as_is", dtype="uint16"), "no-clean-images-16bit"),
    ],
)
def test_names_describe_noise_clipping_and_rounding(protocol, name):
    assert protocol.name == name


def test_the_hash_does_not_depend_on_the_level():
    assert of(sigma_255=15) == of(sigma_255=50)
    assert of(sigma_255=15).sha256 == of(sigma_255=50).sha256
    assert of("poisson", photons=3).sha256 == of("poisson", photons=30).sha256


def test_the_hash_depends_on_the_steps_of_a_chain():
    chains = [
        of("chain", clip=True, quantise=True, steps=[GAUSSIAN | {"clip": clip}, SALT | {"per_channel": each}])
        for clip in (True, False)
        for each in (True, False)
    ]
    assert len({chain.sha256 for chain in chains}) == 4
    assert len({chain.name for chain in chains}) == 1


def test_the_hash_does_not_depend_on_the_number_of_draws():
    assert of(draws=1).sha256 == of(draws=5).sha256


def test_the_hash_depends_on_depth_seeding_and_clipping():
    variants = [
        of(),
        *(of(dtype=dtype) for dtype in ("uint16", "float32")),
        *(of("real", clip=True, quantise=True, dtype=dtype) for dtype in ("uint16", "float32")),
        *(of("as_is", dtype=dtype) for dtype in ("uint8", "uint16", "float32")),
        of(legacy=True),
        of(clip=True),
        of(clip=True, quantise=True),
        of(quantise=True),
        of(per_channel=False),
        of("uniform", width_255=3),
        of("real", clip=True, quantise=True),
    ]
    assert len({protocol.sha256 for protocol in variants}) == len(variants)
    assert of().name == of(legacy=True).name


@pytest.mark.parametrize(
    ("protocol", "sha256"),
    [
        (of(), "267b1b2bc389"),
        (of(legacy=True), "31f653ded7f4"),
        (of(clip=True, quantise=True), "ab72b8c2c3f5"),
        (of("real", clip=True, quantise=True), "f9b43df44429"),
        (of("as_is"), "ae842c2620f5"),
        (of(dtype="uint16"), "b48b1229d3c1"),
        (of(dtype="float32"), "747b0e6924c1"),
    ],
)
def test_hashes_agree_with_stored_scores(protocol, sha256):
    """A changed hash makes old scores incomparable: change it only together with the measurement."""
    assert protocol.sha256 == sha256
