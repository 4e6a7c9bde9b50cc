"""Validation: the mean over the stored patches of every condition."""

import numpy as np
import pytest
import torch

from denoiselab import architectures
from denoiselab.metrics.image_quality import HIGHEST_PSNR
from denoiselab.runtime import files
from denoiselab.training.validation import Validation


@pytest.fixture
def stored(tmp_path):
    """Two patches under one condition: a photograph's worth of noise, and one that noise left as it was."""
    clean = np.zeros((2, 16, 16, 1), np.uint8)
    clean[0] = np.arange(16, dtype=np.uint8)[:, None, None] * 8
    noisy = (clean / 255).astype(np.float32)
    noisy[0] += np.float32(0.1)
    (tmp_path / "patches").mkdir()
    np.save(tmp_path / "patches" / "val-00000.npy", clean)
    (tmp_path / "noisy" / "c").mkdir(parents=True)
    np.save(tmp_path / "noisy" / "c" / "val.npy", noisy)
    protocol = {"name": "x", "conventions": {}}
    index = {"protocol": protocol, "spec": {"kind": "gaussian"}, "sigma_255": 7.5, "measured": True, "test": []}
    files.write_json(tmp_path / "noisy" / "c" / "index.json", index)
    return tmp_path


def test_a_patch_that_comes_out_exactly_does_not_make_the_mean_infinite(stored):
    validate = Validation(stored / "noisy", stored / "patches", None, torch.device("cpu"))
    scores = validate(architectures.build({"arch": "identity", "channels": 1}))
    assert scores["psnr"] == pytest.approx((20 + HIGHEST_PSNR) / 2, abs=1e-3)
    assert validate.levels == [7.5]


def test_other_levels_are_left_out(stored):
    validate = Validation(stored / "noisy", stored / "patches", 1, torch.device("cpu"))
    assert validate(architectures.build({"arch": "identity", "channels": 1}), only=7.5)["psnr"] == pytest.approx(
        20, abs=1e-3
    )
