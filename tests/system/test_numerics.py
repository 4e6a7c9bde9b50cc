"""Effect of rounding on results (precision, threads, batch, tiles, order), within the bounds of docs/protocol.md."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from denoiselab import architectures
from denoiselab.metrics import image_quality
from denoiselab.models import model_store, tiled_inference
from denoiselab.training import validation
from tests.architectures.test_architectures import BLOCKS, CLASSIFIERS, IMPORTED, built
from tests.conftest import ROOT, photograph
from tests.training.test_loop import fit, patches, settings

__all__ = ["patches"]  # a fixture
CPU = torch.device("cpu")
ROUNDING = 1e-5  # largest difference, relative to the output's range or 1, whichever is larger
BFLOAT16 = (0.02, 0.004)  # largest and RMS difference, same units
DECIBELS = 0.01  # difference in PSNR of released weights in bfloat16
SAME = 0.001  # dB
TRAINED = 0.1  # dB, between training runs that differ only in rounding
EVERY = [*BLOCKS, *CLASSIFIERS]
RELEASED = [folder.parent for folder in sorted((ROOT / "models/released").glob("*/model.json"))]


def image(seed: int, height: int = 64, width: int = 72) -> torch.Tensor:
    """A noisy crop of a photo, (1, 3, H, W) float32."""
    clean = torch.from_numpy(photograph()[20 * seed :][:height, :width] / 255).permute(2, 0, 1)[None].float()
    return clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)) * 25 / 255


def net(arch: str) -> nn.Module:
    """A model with non-zero random weights of realistic size, whose outputs stay in the range of images."""
    model = built(arch)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.5 if p.ndim < 2 else 10 / p[0].numel() ** 0.5)
    return model


@torch.inference_mode()
def outputs(model: nn.Module, noisy: torch.Tensor, labels: tuple[int, ...] = (1,)) -> torch.Tensor:
    return tiled_inference.forward(model, noisy, 25.0, torch.tensor(labels)).float()


def differences(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """Largest and RMS difference, relative to the range of `expected`."""
    difference = (found - expected) / max(1.0, expected.abs().max().item())
    return difference.abs().max().item(), difference.square().mean().sqrt().item()


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("arch", EVERY)
def test_bfloat16_agrees_with_single_precision(arch):
    model, noisy = net(arch), image(0)
    expected = outputs(model, noisy)
    with torch.autocast("cpu", torch.bfloat16):
        largest, rms = differences(outputs(model, noisy), expected)
    assert largest <= BFLOAT16[0] and rms <= BFLOAT16[1]
    assert arch in ("bm3d", "classical", "identity", "winnet") or largest > 0  # the first and last switch autocast off


@pytest.mark.parametrize("arch", EVERY)
def test_single_precision_agrees_with_double(arch):
    model, noisy = net(arch), image(0)
    single = outputs(model, noisy)
    assert differences(outputs(model.double(), noisy.double()), single)[0] <= ROUNDING


@pytest.mark.parametrize("arch", EVERY)
def test_threads_and_batches_change_no_more_than_rounding(arch):
    model, (first, second, third) = net(arch), map(image, range(3))
    expected = outputs(model, second)
    with threads(1):
        assert differences(outputs(model, second), expected)[0] <= ROUNDING
    batch = outputs(model, torch.cat([first, second, third]), (0, 1, 2))
    assert differences(batch[1:2], expected)[0] <= ROUNDING


@pytest.mark.parametrize("arch", BLOCKS)
def test_the_order_of_images_changes_nothing(arch):
    model, pictures = net(arch), [image(n)[0].permute(1, 2, 0).numpy() for n in range(3)]
    restored = [tiled_inference.restore(model, one, device=CPU, sigma_255=25.0, label=0) for one in pictures]
    for one, expected in reversed([*zip(pictures, restored, strict=True)]):
        assert np.array_equal(tiled_inference.restore(model, one, device=CPU, sigma_255=25.0, label=0), expected)


def psnr(model: nn.Module, channels: int, sigma_255: float = 15.0, **changes) -> float:
    """PSNR of a restored photo, as in stage evaluate."""
    clean = photograph()[:160, :224, :channels]
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    noisy = (clean / 255).astype(np.float32) + noise * np.float32(sigma_255 / 255)
    restored = tiled_inference.restore(model, noisy, device=CPU, sigma_255=sigma_255, **changes)
    return image_quality.psnr(clean, image_quality.to_uint8(restored), data_range=255)


@pytest.mark.slow
@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_scores_of_released_weights_stay(folder):
    model, channels = model_store.load(folder), model_store.read_card(folder)["architecture"]["channels"]
    expected = psnr(model, channels)
    for sigma_255 in (2.0, 5.0, 15.0, 25.0, 50.0, 65.0):
        single, half = (psnr(model, channels, sigma_255, precision=name) for name in ("float32", "bfloat16"))
        assert (half != single) == (sigma_255 >= tiled_inference.LOWEST_SIGMA_255)
        assert abs(half - single) <= DECIBELS
    assert abs(psnr(model, channels, tile=64) - expected) <= SAME
    with threads(1):
        assert abs(psnr(model, channels) - expected) <= SAME


def test_the_validation_batch_size_changes_no_score(monkeypatch):
    """One patch at a time, or all at once."""
    clean, noisy = torch.cat([image(n) for n in range(5)]).clamp(0, 1), torch.cat([image(n + 9) for n in range(5)])
    validate = validation.Validation.__new__(validation.Validation)
    validate.parts, validate.has_clean = [validation.Part(25.0, clean, noisy, None)], True
    scores = []
    for pixels in (1, 2**30):
        monkeypatch.setattr(validation, "BATCH_PIXELS", pixels)
        scores.append(validate(net("unet_classic")))
    assert scores[0]["psnr"] == pytest.approx(scores[1]["psnr"], abs=SAME)
    assert scores[0]["ssim"] == pytest.approx(scores[1]["ssim"], abs=ROUNDING)


@pytest.mark.slow
def test_training_with_other_numbers_of_threads_gives_similar_scores(patches, params):
    runs = []
    for number in (1, 2):
        with threads(number):
            runs.append(fit(patches, settings(params))[1].history[-1]["val_psnr"])
    assert runs[0] == pytest.approx(runs[1], abs=TRAINED)


def test_every_architecture_is_tested():
    assert sorted([*EVERY, *IMPORTED]) == sorted(architectures.known())


def test_the_bounds_are_those_of_the_protocol_page():
    page = (
        (ROOT / Path("docs/protocol.md")).read_text(encoding="utf-8").partition("## Rounding")[2].partition("\n## ")[0]
    )
    stated = set(map(float, re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", page.replace("10⁻⁵", "1e-5"))))
    assert {ROUNDING, SAME, TRAINED, DECIBELS, *BFLOAT16} <= stated
