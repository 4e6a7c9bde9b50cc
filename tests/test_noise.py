"""Noise: its moments, and that it depends on names alone."""

import numpy as np
import pytest
import torch

from denoiselab import conditions, data, noise, patches, seeding
from denoiselab.config import Gaussian, Params

N = 400_000


def draw(clean: torch.Tensor, **spec) -> torch.Tensor:
    return noise.add(
        clean, seeding.generator("test"), Gaussian.model_validate({"kind": "gaussian", "clip": False} | spec)
    )


@pytest.mark.parametrize("sigma", [0, 5, 25, 50])
def test_gaussian_has_its_mean_and_deviation(sigma):
    clean = torch.full((1, 1, N // 100, 100), 0.5)
    difference = (draw(clean, sigma_255=sigma) - clean).double()
    assert difference.mean().item() == pytest.approx(0, abs=5 * sigma / 255 / N**0.5 + 1e-9)
    assert difference.std().item() == pytest.approx(sigma / 255, rel=5 / (2 * N) ** 0.5, abs=1e-9)


def test_channels_are_independent():
    difference = draw(torch.zeros(1, 3, 500, 500), sigma_255=25)[0].flatten(1)
    assert torch.corrcoef(difference)[0, 1].abs() < 0.02


def test_a_range_gives_each_image_its_own_level():
    levels = 255 * draw(torch.zeros(400, 1, 50, 50), sigma_255=[0, 55]).std(dim=(1, 2, 3))
    assert levels.min() < 3
    assert levels.max() > 52
    assert levels.mean().item() == pytest.approx(27.5, abs=5 * 55 / 12**0.5 / 20)


def test_noise_leaves_the_range_unless_clipped():
    clean = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 1, 100, 2)
    free, clipped = draw(clean, sigma_255=25), draw(clean, sigma_255=25, clip=True)
    assert free.min() < 0
    assert free.max() > 1
    assert torch.equal(clipped, free.clamp(0, 1))
    assert noise.protocol(Gaussian(kind="gaussian", sigma_255=25, clip=True)) != noise.protocol(
        Gaussian(kind="gaussian", sigma_255=25, clip=False)
    )


def stored(tree: dict, photos, out, reverse: bool = False, shard_mib: int = 64) -> dict[str, np.ndarray]:
    tree["data"] = {"name": "folder", "watch": str(photos), "path": str(photos), "channels": 3, "seed": 0}
    tree["data"]["split"] = {"train": 0.4, "val": 0.2, "test": 0.4}
    tree["patches"] = {"size": 32, "stride": 32, "val_size": 32, "scales": [1.0], "shard_mib": shard_mib}
    tree["train"]["crop"] = None
    params = Params.model_validate(tree)
    rows = data.fetch(params.data, out / "raw")
    if reverse:
        from denoiselab.data import manifest

        manifest.write(out / "raw", rows[::-1])
    patches.cut(out / "raw", params.patches, 3, out / "patches")
    conditions.write(out / "raw", out / "patches", params, out / "noisy")
    tests = {t.image: t.noisy for t in conditions.test(out / "raw", out / "noisy", "sigma25", 3)}
    val = np.load(out / "noisy" / "sigma25" / "val.npy")
    return tests | {p.id: v for p, v in zip(patches.index(out / "patches", "val"), val, strict=True)}


def test_stored_noise_does_not_depend_on_order(tree, photos, tmp_path):
    first, second = stored(tree, photos, tmp_path / "a"), stored(tree, photos, tmp_path / "b", reverse=True)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert np.array_equal(value, second[key])


def test_no_two_images_have_the_same_field(tree, photos, tmp_path):
    stored(tree, photos, tmp_path)
    tests = list(conditions.test(tmp_path / "raw", tmp_path / "noisy", "sigma25", 3))
    fields = [t.noisy - t.clean.astype(np.float32) / 255 for t in tests]
    assert len(fields) > 1
    assert abs(np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1]) < 0.03


def test_another_seed_gives_another_field(tree, photos, tmp_path):
    first = stored(tree, photos, tmp_path / "a")
    tree["seed"] = 1
    second = stored(tree, photos, tmp_path / "b")
    assert all(not np.array_equal(first[key], second[key]) for key in first)


def test_changed_noise_is_noticed(tree, photos, tmp_path):
    stored(tree, photos, tmp_path)
    path = tmp_path / "noisy" / "sigma25" / "test-00000.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"test-00000.npy: differs from what add-noise wrote"):
        list(conditions.test(tmp_path / "raw", tmp_path / "noisy", "sigma25", 3))
