"""Invention test: what models make of images without content."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from denoiselab.evaluation import invention
from denoiselab.models import model_store
from denoiselab.runtime import paths
from tests.conftest import ROOT

GAUSSIAN = {"kind": "gaussian", "sigma_255": 25.0, "per_channel": True, "clip": False, "quantise": False}


class Mean(nn.Module):
    """Mean of 3x3 pixels; as strong as `gain`, a pattern of stripes is added."""

    def __init__(self, gain: float = 0):
        super().__init__()
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stripes = torch.sin(torch.arange(x.shape[3]) / 8)
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1) + self.gain / 255 * stripes


def test_noise_that_is_averaged_is_not_invented():
    flat, noisy, alone = invention.examine(Mean(), 3, GAUSSIAN)
    assert flat.noise_255 == flat.blotches_255 == 0
    assert max(flat.left_255, flat.shown_255) < 1e-4
    assert noisy.noise_255 == pytest.approx(25, rel=0.01)
    assert noisy.left_255 == pytest.approx(25 / 3, rel=0.02)
    assert noisy.blotches_255 == pytest.approx(25 / invention.CELL, rel=0.05)
    assert alone.noise_255 == pytest.approx(255 / 12**0.5, rel=0.01)
    assert not any(case.invents for case in (flat, noisy, alone))


@pytest.mark.parametrize(("gain", "invents"), [(0.2, False), (3, True)])
def test_a_pattern_is_invented(gain, invents):
    flat, *_ = invention.examine(Mean(gain), 1, GAUSSIAN)
    assert flat.left_255 == pytest.approx(gain / 2**0.5, rel=0.05)
    assert flat.invents == invents
    assert (flat.figure[:, : invention.SHOWN] == 128).all()
    assert (np.ptp(flat.figure[:, invention.SHOWN :]) > 10) == invents


@pytest.mark.slow
def test_the_cards_have_the_figures_of_their_weights():
    folder = ROOT / paths.released("gray_fast")
    card = model_store.read_card(folder)
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    for case in invention.examine(model_store.load(folder), 1, card["noise"]["train"]):
        (row,) = (line for line in lines if line.startswith(f"| {case.name} |"))
        stated = [float(cell) for cell in row.replace("*", "").split("|")[2:6]]
        measured = [case.noise_255, case.left_255, case.blotches_255, case.shown_255]
        assert stated == pytest.approx(measured, abs=0.03)
