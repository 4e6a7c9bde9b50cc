"""LPIPS against the paper's formula, with random weights in the format of the published files."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from denoiselab import config
from denoiselab.metrics import lpips
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError
from tests.conftest import photograph

CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512}
CONVOLUTIONS |= {24: 512, 26: 512, 28: 512}  # index and width in torchvision's `features`
POOLED_BEFORE = (5, 10, 17, 24)
COMPARED = (2, 7, 14, 21, 28)  # the ReLU layers after them: relu1_2, 2_2, 3_3, 4_3, 5_3


def write_weights(folder: Path) -> dict[str, str]:
    """Random weights with the real names, and the block of params.yaml for these files."""
    generator, net, planes = torch.Generator().manual_seed(0), {}, 3
    for n, width in CONVOLUTIONS.items():
        net[f"features.{n}.weight"] = torch.randn(width, planes, 3, 3, generator=generator) * (2 / (9 * planes)) ** 0.5
        net[f"features.{n}.bias"] = 0.1 * torch.randn(width, generator=generator)
        planes = width
    net["classifier.0.weight"] = torch.zeros(2, 2)
    widths = [CONVOLUTIONS[n] for n in COMPARED]
    heads = {f"lin{n}.model.1.weight": torch.rand(1, w, 1, 1, generator=generator) for n, w in enumerate(widths)}
    torch.save(net, folder / "vgg16-397923af.pth")
    torch.save(heads, folder / "vgg.pth")
    paths = {"vgg16": folder / "vgg16-397923af.pth", "heads": folder / "vgg.pth"}
    hashes = {"sha256": files.sha256(paths["vgg16"]), "heads_sha256": files.sha256(paths["heads"])}
    return {name: str(path) for name, path in paths.items()} | hashes


@pytest.fixture
def block(tmp_path) -> dict[str, str]:
    return write_weights(tmp_path)


def by_the_paper(block: dict[str, str], clean: np.ndarray, restored: np.ndarray) -> float:
    """LPIPS of two arrays (H, W, 3) in [0, 1], by the paper's formula."""
    net, heads = torch.load(block["vgg16"]), torch.load(block["heads"])
    x = torch.from_numpy(np.stack([clean, restored])).float().permute(0, 3, 1, 2) * 2 - 1
    x = (x - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    total = 0.0
    for n in CONVOLUTIONS:
        x = F.max_pool2d(x, 2) if n in POOLED_BEFORE else x
        x = F.relu(F.conv2d(x, net[f"features.{n}.weight"], net[f"features.{n}.bias"], padding=1))
        if n in COMPARED:
            unit = F.normalize(x, dim=1)
            weights = heads[f"lin{COMPARED.index(n)}.model.1.weight"][0]
            total += (weights * (unit[0] - unit[1]) ** 2).sum(0).mean().item()
    return total


def images(sigma_255: float) -> tuple[np.ndarray, np.ndarray]:
    """A crop (48, 56, 3) in [0, 1], and the same with clipped noise."""
    clean = photograph()[100:148, 150:206] / 255
    return clean, (clean + np.random.default_rng(0).normal(0, sigma_255 / 255, clean.shape)).clip(0, 1)


def test_lpips_agrees_with_the_papers_formula(block):
    metric = lpips.load(config.Lpips(**block))
    clean, noisy = images(25)
    found = metric.between(clean, noisy, data_range=1)
    assert found == pytest.approx(by_the_paper(block, clean, noisy), rel=1e-4)
    assert found > 0.01
    eight_bits = [np.round(255 * x).astype(np.uint8) for x in (clean, noisy)]
    assert metric.between(*eight_bits, data_range=255) == pytest.approx(found, rel=0.05)


def test_identical_images_have_0_and_lpips_grows_with_noise(block):
    metric = lpips.load(config.Lpips(**block))
    distances = [metric.between(*images(sigma), data_range=1) for sigma in (0, 5, 15, 50)]
    assert distances[0] == 0
    assert distances == sorted(distances) and len({*distances}) == 4


def test_gray_images_equal_three_identical_channels(block):
    metric = lpips.load(config.Lpips(**block))
    gray = [image[:, :, :1] for image in images(25)]
    three = [np.repeat(image, 3, axis=2) for image in gray]
    assert metric.between(*gray, data_range=1) == pytest.approx(metric.between(*three, data_range=1), rel=1e-5)


def test_wrong_files_are_refused(block):
    with pytest.raises(UserError, match=r"vgg\.pth: .*sha256"):
        lpips.load(config.Lpips(**(block | {"heads_sha256": "0" * 64})))
    swapped = {"vgg16": block["heads"], "sha256": block["heads_sha256"]}
    with pytest.raises(UserError, match=r"vgg\.pth: not torchvision's VGG16"):
        lpips.load(config.Lpips(**(block | swapped)))
    with pytest.raises(UserError, match=r"vgg16-397923af\.pth: not the heads of LPIPS"):
        lpips.read_heads(Path(block["vgg16"]))
