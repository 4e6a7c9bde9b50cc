"""Lack of device memory: inference falls back to smaller tiles; other errors name the setting to lower."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from denoiselab import architectures
from denoiselab.app import batch_denoise, batch_plan, denoisers, photo_denoise
from denoiselab.imaging import dataset_images
from denoiselab.models import tiled_inference
from denoiselab.models.tiled_inference import GRID, restore
from denoiselab.runtime import devices, distributed
from denoiselab.runtime.errors import UserError
from denoiselab.training import jobs, runner
from tests.conftest import composed, photograph

CPU = torch.device("cpu")
ERRORS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried"),
    "Windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "NumPy": MemoryError("Unable to allocate 2 GiB for an array"),
}


class Hungry(nn.Module):
    """A model that runs out of memory above a number of pixels."""

    reach = 10

    def __init__(self, most: int, error: Exception):
        super().__init__()
        self.most, self.error, self.seen = most, error, []
        torch.manual_seed(0)
        self.net = nn.Conv2d(3, 3, (21, 1), padding=(10, 0))

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        self.seen.append(noisy.shape[-2] * noisy.shape[-1])
        if self.seen[-1] > self.most:
            raise self.error
        return self.net(noisy)


def picture(height: int = 300, width: int = 420) -> np.ndarray:
    return (photograph()[:height, :width] / 255).astype(np.float32)


@pytest.mark.parametrize("kind", ERRORS)
def test_tiles_shrink_until_they_fit(kind, capsys):
    tiled_inference._warn.cache_clear()
    hungry = Hungry(200 * 200, ERRORS[kind])
    restored = restore(hungry, picture(), device=CPU)
    assert max(size for size in hungry.seen if size <= 200 * 200) > 100 * 100
    assert np.abs(restored - restore(Hungry(10**9, ERRORS[kind]), picture(), device=CPU)).max() < 1e-5
    restore(hungry, picture(), device=CPU)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("tiles of ")[2] for line in said] == [
        f"{side} pixels (evaluate.tile, --tile)" for side in (192, 64)
    ]


def test_a_given_tile_size_shrinks_too():
    hungry = Hungry(320 * 320, ERRORS["CUDA"])
    restore(hungry, picture(512, 512), device=CPU, tile=384)
    assert hungry.seen[0] == 448 * 448 and hungry.seen[1] == 256 * 256


def test_if_no_tile_fits_the_error_gives_the_image_size():
    with pytest.raises(UserError, match=rf"out of memory for an image of 420x300 pixels, even in tiles of {GRID}"):
        restore(Hungry(10, ERRORS["CUDA"]), picture(), device=CPU)


def test_models_without_tiling_are_named():
    hungry = Hungry(10, ERRORS["CPU"])
    hungry.reach = None
    with pytest.raises(UserError, match="420x300 pixels, which this model cannot tile; use a smaller image"):
        restore(hungry, picture(), device=CPU)
    assert len(hungry.seen) == 1


def test_other_errors_are_not_taken_for_lack_of_memory():
    hungry = Hungry(10, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        restore(hungry, picture(), device=CPU)
    assert len(hungry.seen) == 1


def test_a_failed_allocation_is_lack_of_memory():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert devices.is_out_of_memory(error.value)


def test_denoising_a_file_continues_in_smaller_tiles(tmp_path, monkeypatch):
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    dataset_images.write_png(source, photograph()[:300, :420])
    hungry = Hungry(200 * 200, ERRORS["CUDA"])
    entry = next(entry for entry in denoisers.known() if entry.channels == 3)
    monkeypatch.setattr(denoisers, "load", lambda name: denoisers.Denoiser(entry, hungry))
    [outcome] = batch_denoise.run([batch_plan.Task(source, target)], photo_denoise.Settings(model="x"))
    assert outcome.status == "denoised" and dataset_images.read(target, 3).shape == (300, 420, 3)
    hungry.most = 10
    [outcome] = batch_denoise.run([batch_plan.Task(source, target)], photo_denoise.Settings(model="x", force=True))
    assert outcome.status == "failed" and "out of memory for an image of 420x300" in outcome.reason


@pytest.mark.parametrize("where", ["batches", "fit"])
def test_training_names_the_settings_to_lower(monkeypatch, where):
    """Whether the patches or a training step exceed the memory."""
    params = composed("model=dncnn", "models.dncnn.batch=10", "models.dncnn.crop=40", "train.val_patches=20")
    monkeypatch.setattr(jobs._Data, "read", lambda: jobs._Data([], []))
    monkeypatch.setattr(distributed, "is_first", lambda: False)
    job = jobs.resolve(params, "dncnn")
    monkeypatch.setattr(runner, "_validation", lambda job: None)
    monkeypatch.setattr(runner, "_stock", lambda job: (Mock(clean=np.zeros(1, np.uint8)), None))

    def fails(*args, **settings):
        raise ERRORS["CUDA"]

    monkeypatch.setattr(runner.batches, "build", fails if where == "batches" else lambda *args: None)
    monkeypatch.setattr(runner.loop, "fit", fails)
    with pytest.raises(
        ValueError, match=r"out of memory; lower batch \(10\), crop \(40\), val_patches \(20\) of models.dncnn or train"
    ):
        runner.train(job, lambda step, values: None)


def test_building_a_model_names_them_too(monkeypatch):
    monkeypatch.setattr(jobs._Data, "read", lambda: jobs._Data([], []))
    job = jobs.resolve(composed("model=dncnn"), "dncnn")

    def fails(*args, **settings):
        raise ERRORS["CPU"]

    monkeypatch.setattr(architectures, "build", fails)
    with pytest.raises(UserError, match=r"lower batch \(\d+\), .* or the model's width"):
        runner.train(job, lambda step, values: None)
