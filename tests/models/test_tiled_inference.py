"""Tiled inference: bounded memory, same result as for the whole image."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from denoiselab import architectures
from denoiselab.models import tiled_inference
from denoiselab.runtime import seeding
from tests.conftest import ROOT

CPU = torch.device("cpu")
BLOCK = {"arch": "ffdnet", "channels": 3, "depth": 3, "features": 4, "batch_norm": False}

MEASURE = """
import json, re, sys
from pathlib import Path
import numpy as np, torch
from denoiselab import architectures
from denoiselab.models import tiled_inference

def kib(name):
    return int(re.search(rf"{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))

torch.manual_seed(0)
model, side = architectures.build(json.loads(sys.argv[1])), int(sys.argv[2])
restore = lambda image: tiled_inference.restore(model, image, device=torch.device("cpu"), tile=256)
image = np.random.default_rng(0).random((side, side, 3), np.float32)
restore(image[:300, :300])  # load libraries
before = kib("VmRSS")
restored = restore(image)
print(json.dumps({"above": (kib("VmHWM") - before) * 1024, "image": image.nbytes}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_memory_is_bounded_for_large_images():
    """Also when the noise level is estimated from the whole image."""
    command = [sys.executable, "-c", MEASURE, json.dumps(BLOCK), "3072"]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert found["above"] < found["image"] + 48 * 2**20


def test_the_model_receives_tiles_only():
    class Watching(torch.nn.Module):
        reach = 1
        seen: list[int] = []  # noqa: RUF012

        def forward(self, noisy):
            self.seen.append(noisy.numel())
            return noisy

    image = np.random.default_rng(0).random((600, 500, 3), np.float32)
    view = image[::-1, 7:]  # not contiguous
    restored = tiled_inference.restore(Watching(), view, device=CPU, tile=128)
    assert np.array_equal(restored, view)
    assert restored.dtype == np.float32
    assert len(Watching.seen) == 5 * 4
    assert max(Watching.seen) == 3 * (128 + 2 * 64) ** 2


def test_the_noise_level_is_estimated_from_the_whole_image():
    """With noise in one half only: the levels of single tiles would differ."""
    torch.manual_seed(0)
    model = architectures.build(BLOCK)
    noise = torch.randn(300, 400, 3, generator=seeding.generator("half")).numpy()
    image = np.full((300, 400, 3), 0.5, np.float32) + np.where(np.arange(400)[None, :, None] < 250, 0.1 * noise, 0)
    image = image.astype(np.float32)
    whole = tiled_inference.restore(model, image, device=CPU)
    assert np.abs(tiled_inference.restore(model, image, device=CPU, tile=128) - whole).max() <= 1e-5
