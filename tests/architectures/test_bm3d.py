"""BM3D against a plain reference in float64, the authors' program, and its own invariances, on photographs."""

import numpy as np
import pytest
import pywt
import torch
from scipy.fft import dctn, idctn
from skimage import data

from denoiselab import architectures
from denoiselab.app import denoisers
from denoiselab.architectures import bm3d
from denoiselab.metrics import image_quality
from denoiselab.runtime import seeding

CPU = torch.device("cpu")


def photo(channels: int, height: int = 128, width: int = 128) -> np.ndarray:
    """(H, W, C) in [0, 1]."""
    pixels = data.camera()[100:, 100:, None] if channels == 1 else data.astronaut()[10:, 160:]
    return pixels[:height, :width] / 255


def noisy(clean: np.ndarray, sigma_255: float) -> np.ndarray:
    noise = torch.randn(clean.shape, generator=seeding.generator("bm3d", sigma_255), dtype=torch.float64)
    return clean + sigma_255 / 255 * noise.numpy()


def planar(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).float().permute(2, 0, 1)[None].contiguous()


def restored(pixels: np.ndarray, sigma_255: float | None) -> np.ndarray:
    model = architectures.build({"arch": "bm3d", "channels": pixels.shape[2]})
    return model(planar(pixels), sigma_255)[0].permute(1, 2, 0).numpy()


def psnr(clean: np.ndarray, image: np.ndarray) -> float:
    return image_quality.psnr(clean, image, data_range=1)


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.square(difference).mean()))


def wavelet(values: np.ndarray, name: str, axis: int) -> np.ndarray:
    """Full decomposition along an axis, coefficients scaled to the noise of the input."""
    size = values.shape[axis]
    if size == 1:
        return values

    def decomposed(signal: np.ndarray, axis: int) -> np.ndarray:
        for level in range(int(np.log2(size))):
            low = signal.take(range(size >> level), axis)
            halves = np.concatenate(pywt.dwt(low, name, "periodization", axis=axis), axis)
            signal = np.concatenate([halves, signal.take(range(size >> level, size), axis)], axis)
        return signal

    scale = np.linalg.norm(decomposed(np.eye(size), 0), axis=1)
    return np.moveaxis(np.moveaxis(decomposed(values, axis), axis, -1) / scale, -1, axis)


def reference_step(image, guide, sigma, transform, back, step, haar, haar_back):
    """One step in 8-bit units, block by block; `sigma`: of each channel."""
    block, (height, width, channels) = step.block, image.shape
    window = np.outer(np.kaiser(block, 2), np.kaiser(block, 2))
    sums, weights = np.zeros(image.shape), np.zeros(image.shape)
    corners = [sorted({*range(0, side - block + 1, step.stride), side - block}) for side in (height, width)]

    def cut(source, y, x):
        return source[y : y + block, x : x + block]

    for y in corners[0]:
        for x in corners[1]:
            near = [
                (((cut(guide, v, u) - cut(guide, y, x))[:, :, 0] ** 2).mean(), v, u)
                for v in range(max(0, y - 19), min(height - block, y + 19) + 1)
                for u in range(max(0, x - 19), min(width - block, x + 19) + 1)
            ]
            near = sorted(one for one in near if one[0] <= step.distance)[: step.members]
            near = near[: 2 ** int(np.log2(len(near)))]
            for c in range(channels):
                group = haar(np.stack([transform(cut(image, v, u)[:, :, c]) for _, v, u in near]))
                if step.threshold:
                    factor = abs(group) > step.threshold * sigma[c]
                    weight = 1 / max(1, factor.sum())
                else:
                    power = haar(np.stack([transform(cut(guide, v, u)[:, :, c]) for _, v, u in near])) ** 2
                    factor = power / (power + sigma[c] ** 2)
                    weight = 1 / max(1, (factor**2).sum())
                for estimate, (_, v, u) in zip(haar_back(group * factor), near, strict=True):
                    cut(sums, v, u)[:, :, c] += weight * window * back(estimate)
                    cut(weights, v, u)[:, :, c] += weight * window
    return sums / weights


def reference(pixels: np.ndarray, sigma_255: float) -> np.ndarray:
    """BM3D or CBM3D of (H, W, C) in [0, 1], as the papers state it."""
    first, second = bm3d.NORMAL if sigma_255 <= 40 else bm3d.HIGH
    colours = np.array([[1, 1, 1], [1.5, 0, -1.5], [0.75, -1.5, 0.75]]) / 3 if pixels.shape[2] == 3 else np.eye(1)
    sigma = sigma_255 * np.linalg.norm(colours, axis=1)
    image = 255 * pixels @ colours.T
    bior = np.stack([wavelet(unit, "bior1.5", 0) for unit in np.eye(8)], 1)
    unbior = np.linalg.inv(bior)

    def haar_back(group):
        matrix = np.stack([wavelet(unit, "haar", 0) for unit in np.eye(len(group))], 1)
        return np.tensordot(matrix.T, group, 1)

    common = (lambda group: wavelet(group, "haar", 0)), haar_back
    hard = (lambda block: bior @ block @ bior.T), (lambda block: unbior @ block @ unbior.T)
    wiener = (lambda block: dctn(block, norm="ortho")), (lambda block: idctn(block, norm="ortho"))
    basic = reference_step(image, image, sigma, *hard, first, *common)
    final = reference_step(image, basic, sigma, *wiener, second, *common)
    return final @ np.linalg.inv(colours).T / 255


@pytest.mark.parametrize(("channels", "sigma_255"), [(1, 25.0), (3, 25.0), (1, 50.0), (3, 50.0)])
def test_it_agrees_with_plain_loops_in_double_precision(channels, sigma_255):
    given = noisy(photo(channels, 13, 52), sigma_255)  # wider than the search
    assert rms(restored(given, sigma_255) - reference(given, sigma_255)) < 1e-4


@pytest.mark.parametrize(("name", "block"), [("bior1.5", 8), ("dct", 8), ("dct", 11)])
def test_transforms_are_invertible_and_keep_the_noise_level(name, block):
    forward, backward, window = bm3d._transform(name, block, CPU)
    spectra = torch.eye(block**2) @ forward
    assert torch.allclose(backward @ spectra.T, torch.outer(window, window).flatten().diag(), atol=1e-5)
    assert torch.allclose(forward.norm(dim=0), torch.ones(block**2), atol=1e-6)
    gram = forward.T @ forward
    assert torch.allclose(gram, torch.eye(block**2), atol=1e-5) == (name == "dct")
    haar = bm3d._haar(block - block % 8, CPU)
    assert torch.allclose(haar @ haar.T, torch.eye(8), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_constant_images_and_images_without_noise_come_back(channels):
    given = noisy(photo(channels, 24, 31), 25.0)
    assert np.array_equal(restored(given, 0.0), given.astype(np.float32))
    for sigma_255 in (5.0, 60.0):
        constant = np.full((40, 37, channels), 0.7)
        assert abs(restored(constant, sigma_255) - 0.7).max() < 1e-4


# PSNR in dB of the authors' program (version 4.0.3 of its Python package), whose profile is another one at sigma 50
@pytest.mark.parametrize(
    ("channels", "sigma_255", "theirs", "below"),
    [(1, 25.0, 31.35, 0.05), (3, 25.0, 30.23, 0.1), (1, 50.0, 28.37, 0.35), (3, 50.0, 27.06, 0.15)],
)
def test_it_restores_photographs_as_well_as_the_authors_program(channels, sigma_255, theirs, below):
    clean = photo(channels)
    given = noisy(clean, sigma_255)
    ours = psnr(clean, restored(given, sigma_255))
    assert ours > theirs - below
    assert ours > psnr(clean, denoisers.load("nlm").restore(given.astype(np.float32), sigma_255=sigma_255)) + 0.9
    assert abs(ours - psnr(clean, restored(given, None))) < 0.1  # with the estimated level


@pytest.mark.parametrize("channels", [1, 3])
def test_the_authors_program_agrees(channels):
    theirs = pytest.importorskip("bm3d", reason="for non-commercial use only: install it by hand")
    clean = photo(channels)
    given = noisy(clean, 25.0)
    profile = theirs.BM3DProfile()
    profile.num_threads = 1
    run = theirs.bm3d if channels == 1 else theirs.bm3d_rgb
    result = run(given[:, :, 0] if channels == 1 else given, 25 / 255, profile).reshape(given.shape)
    assert abs(psnr(clean, result) - psnr(clean, restored(given, 25.0))) < 0.1
    assert psnr(result, restored(given, 25.0)) > 42


@pytest.mark.parametrize("turned", [np.flipud, np.fliplr, lambda pixels: pixels.swapaxes(0, 1)])
def test_flips_and_transposition_are_restored_alike(turned):
    given = noisy(photo(3, 50, 44), 25.0)  # of sides 8 + 3 n, on which the grid of blocks is symmetric
    assert rms(turned(restored(given, 25.0)) - restored(turned(given).copy(), 25.0)) < 1e-4


def test_tiles_chunks_threads_and_autocast_change_nothing(monkeypatch):
    given = noisy(photo(3, 60, 75), 25.0)
    expected = restored(given, 25.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    assert np.array_equal(restored(given, 25.0), expected)
    torch.set_num_threads(threads)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(restored(given, 25.0), expected)
    monkeypatch.setattr(bm3d, "TILE", 15)
    monkeypatch.setattr(bm3d, "CHUNK", 3)
    assert rms(restored(given, 25.0) - expected) < 1e-4


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (7, 9), (8, 8), (10, 12), (13, 70)])
@pytest.mark.parametrize("sigma_255", [25.0, 50.0])
def test_small_images_of_any_size_are_restored(size, sigma_255):
    clean = photo(1, *size)
    for given in (noisy(clean, sigma_255), noisy(clean.repeat(3, 2), sigma_255)):
        result = restored(given, sigma_255)
        assert result.shape == given.shape and np.isfinite(result).all()
        assert rms(result - clean) < rms(given - clean) or size == (1, 1)


def test_images_of_a_batch_have_their_own_levels():
    model = architectures.build({"arch": "bm3d", "channels": 1})
    batch = torch.cat([planar(noisy(photo(1, 40, 40), sigma_255)) for sigma_255 in (10.0, 60.0)])
    both = model(batch, torch.tensor([10.0, 60.0]))
    assert torch.equal(both, torch.cat([model(batch[:1], 10.0), model(batch[1:], 60.0)]))
