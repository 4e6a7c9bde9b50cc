"""Stored noise: the noisy validation patches and test images of every test condition.

data/noisy/<condition>/val.npy is (N, H, W, C) float32 beside the N validation patches, test-<n>.npy is
(H, W, C) float32 beside the n-th test image; index.json names the condition, the spec and each file's sha256.
Drawn once from (seed, image id, condition): every model sees the same pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from denoiselab import files, images, noise, patches, seeding
from denoiselab.config import NoiseSpec, Params, check
from denoiselab.data import manifest


@dataclass(frozen=True)
class TestImage:
    """A test image under one condition: clean (H, W, C) uint8, noisy (H, W, C) float32."""

    image: str
    label: str
    clean: np.ndarray
    noisy: np.ndarray


@dataclass(frozen=True)
class ValidationSet:
    """Validation patches under one condition: clean (N, H, W, C) uint8, noisy (N, H, W, C) float32."""

    condition: str
    spec: NoiseSpec
    clean: np.ndarray
    noisy: np.ndarray


def write(raw: Path, patch_folder: Path, params: Params, out: Path) -> None:
    """Draw and store the noise of every test condition."""
    rows = manifest.read(raw, "test")
    places = patches.index(patch_folder, "val")
    val = patches.load(patch_folder, "val")
    for condition, spec in params.noise.test.items():
        folder = out / condition
        folder.mkdir(parents=True, exist_ok=True)
        noisy_val = np.lib.format.open_memmap(folder / "val.npy", "w+", np.float32, val.shape)
        for n, place in enumerate(places):
            noisy_val[n] = _draw(val[n], spec, params.seed, place.id, condition)
        noisy_val.flush()
        entries = []
        for n, row in enumerate(rows):
            clean = _read(raw, row, params.data.channels)
            noisy = _draw(clean, spec, params.seed, row.image, condition)
            name = f"test-{n:05d}.npy"
            np.save(folder / name, noisy)
            mse = float(np.mean((noisy.astype(np.float64) - clean / 255.0) ** 2))
            psnr = -10 * np.log10(mse) if mse > 0 else None
            entries.append(
                {"image": row.image, "file": name, "sha256": files.sha256(folder / name), "psnr_noisy": psnr}
            )
        files.write_json(
            folder / "index.json",
            {
                "condition": condition,
                "protocol": noise.protocol(spec),
                "spec": spec.model_dump(),
                "seed": params.seed,
                "val": {"file": "val.npy", "patches": len(places), "sha256": files.sha256(folder / "val.npy")},
                "test": entries,
            },
        )


def names(root: Path) -> list[str]:
    """The stored conditions."""
    return sorted(p.parent.name for p in root.glob("*/index.json"))


def spec(root: Path, condition: str) -> NoiseSpec:
    """The noise of a stored condition."""
    return check(NoiseSpec, files.read_json(root / condition / "index.json")["spec"])


def validation(root: Path, patch_folder: Path, condition: str, limit: int | None) -> ValidationSet:
    """The validation patches of a condition, at most `limit` of them, evenly spread."""
    clean, noisy = patches.load(patch_folder, "val"), np.load(root / condition / "val.npy", mmap_mode="r")
    count = len(clean) if limit is None else min(limit, len(clean))
    chosen = np.linspace(0, len(clean) - 1, count).round().astype(int)
    return ValidationSet(condition, spec(root, condition), clean[chosen], noisy[chosen])


def test(raw: Path, root: Path, condition: str, channels: int) -> Iterator[TestImage]:
    """The test images of a condition, one at a time. ValueError where a stored file is not what was written."""
    rows = {row.image: row for row in manifest.read(raw, "test")}
    for entry in files.read_json(root / condition / "index.json")["test"]:
        path, row = root / condition / entry["file"], rows[entry["image"]]
        if files.sha256(path) != entry["sha256"]:
            raise ValueError(f"{path}: differs from what add-noise wrote; run `dvc repro -f add-noise`")
        yield TestImage(row.image, row.label, _read(raw, row, channels), np.load(path))


def _read(raw: Path, row: manifest.Row, channels: int) -> np.ndarray:
    pixels = images.read(raw / row.path, channels)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _draw(clean: np.ndarray, spec: NoiseSpec, seed: int, image: str, condition: str) -> np.ndarray:
    """(H, W, C) uint8 to noisy (H, W, C) float32."""
    planar = torch.from_numpy(clean.astype(np.float32) / 255).permute(2, 0, 1)[None]
    noisy = noise.add(planar, seeding.generator(seed, image, condition), spec)
    return noisy[0].permute(1, 2, 0).contiguous().numpy()
