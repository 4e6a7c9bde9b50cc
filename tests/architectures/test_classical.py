"""Classical methods and their calibration, on a real photograph."""

import numpy as np
import pytest
import torch

from denoiselab import architectures
from denoiselab.architectures.classical import METHODS
from denoiselab.metrics import batched
from denoiselab.models import tiled_inference
from denoiselab.runtime import seeding
from denoiselab.training.calibration import calibrate


class FakeValidation:
    """Stands for Validation in calibrate(), with given pairs."""

    def __init__(self, pairs):
        self.pairs = pairs
        self.levels = [level for level, _, _ in pairs]

    def __call__(self, model, only=None):
        level, clean, noisy = next(pair for pair in self.pairs if pair[0] == only)
        return {"psnr": batched.psnr(clean, tiled_inference.forward(model, noisy, level)).mean().item()}


def pair(astronaut: np.ndarray, sigma: float):
    clean = torch.from_numpy(astronaut[100:228, 150:278] / 255).permute(2, 0, 1)[None].float()
    return sigma, clean, clean + sigma / 255 * torch.randn(clean.shape, generator=seeding.generator("classical", sigma))


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_methods_beat_the_noisy_input(astronaut, method):
    model = architectures.build(
        {"arch": "classical", "channels": 3, "method": method, "strengths": [0.5, 1.0, 2.0, 4.0]}
    )
    level, clean, noisy = pair(astronaut, 25.0)
    rows = calibrate(model, FakeValidation([(level, clean, noisy)]))
    restored = tiled_inference.forward(model, noisy, level)
    gain = batched.psnr(clean, restored) - batched.psnr(clean, noisy)
    assert gain.item() > 2.5
    assert batched.psnr(clean, restored).item() == pytest.approx(max(row["val_psnr"] for row in rows), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_gray_keeps_its_shape(astronaut, method):
    model = architectures.build({"arch": "classical", "channels": 1, "method": method, "strengths": [1.0]})
    model.set_strengths({25.0: 1.0})
    level, _, noisy = pair(astronaut, 25.0)
    for gray in (noisy[:, :1], noisy[:, :1, :40, :31].repeat(2, 1, 1, 1)):
        assert tiled_inference.forward(model, gray, level).shape == gray.shape
        assert model(gray).shape == gray.shape


def test_strengths_are_calibrated_for_each_level(astronaut):
    model = architectures.build(
        {"arch": "classical", "channels": 3, "method": "gaussian", "strengths": [0.3, 0.6, 0.9, 1.3, 2.0]}
    )
    calibrate(model, FakeValidation([pair(astronaut, 50.0), pair(astronaut, 10.0)]))
    assert model.levels.tolist() == [10, 50]
    assert model.strengths[0] < model.strengths[1]


def test_an_unknown_level_is_estimated(astronaut):
    model = architectures.build({"arch": "classical", "channels": 3, "method": "nlm", "strengths": [0.6]})
    model.set_strengths({25.0: 0.6})
    level, clean, noisy = pair(astronaut, 25.0)
    given, estimated = tiled_inference.forward(model, noisy, level), model(noisy)
    assert (batched.psnr(clean, given) - batched.psnr(clean, estimated)).abs().item() < 0.5
