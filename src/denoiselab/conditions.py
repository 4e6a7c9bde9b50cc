"""Stored noise: the noisy validation patches and test images of every test condition.

data/noisy/<condition>/val.npy is (N, H, W, C) float32 beside the N validation patches, test-<n>-<draw>.npy is
(H, W, C) float32 beside the n-th test image; index.json names the condition, its spec, protocol and level, each
file's sha256 and each test image's PSNR. Drawn once from (seed, image id, condition, draw): every model sees the
same pixels.
"""

from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from denoiselab import files, images, metrics, noise, patches, protocols, seeding
from denoiselab.config import Params
from denoiselab.config.noise import Gaussian, NoiseSpec
from denoiselab.data import manifest


@dataclass(frozen=True)
class TestImage:
    """A test image under one condition: clean (H, W, C) uint8, noisy (H, W, C) float32."""

    image: str
    label: str
    group: str
    sets: tuple[str, ...]
    draw: int
    clean: np.ndarray
    noisy: np.ndarray

    @cached_property
    def psnr_noisy(self) -> float:
        """PSNR of the noisy image as it is, neither clamped nor rounded, in dB."""
        return metrics.capped_psnr(self.clean / 255.0, self.noisy, data_range=1)


@dataclass(frozen=True)
class Condition:
    """What index.json says of a condition."""

    name: str
    protocol: protocols.Protocol
    spec: dict[str, Any]
    sigma_255: float  # the level that noise-aware methods are told
    measured: bool  # whether that is the noise's RMS on the validation patches, for want of a stated one


def write(raw: Path, patch_folder: Path, params: Params, out: Path) -> None:
    """Draw and store the noise of every test condition. ValueError where `real` noise finds no pair."""
    rows = manifest.read(raw, "test")
    for condition, spec in params.noise.test.items():
        folder = out / condition
        folder.mkdir(parents=True, exist_ok=True)
        measured = _write_val(patch_folder, params, condition, spec, folder / "val.npy")
        entries = [
            _write_test(raw, row, n, draw, params, condition, spec, folder)
            for n, row in enumerate(rows)
            for draw in range(params.protocol.draws)
        ]
        stated = noise.level(spec)
        protocol = protocols.of(spec, params.protocol)
        files.write_json(
            folder / "index.json",
            {
                "condition": condition,
                "protocol": asdict(protocol) | {"sha256": protocol.sha256},
                "spec": spec.model_dump(mode="json"),
                "sigma_255": measured if stated is None else stated,
                "measured": stated is None,
                "seed": params.seed,
                "val": {"file": "val.npy", "sha256": files.sha256(folder / "val.npy")},
                "test": entries,
            },
        )


def names(root: Path) -> list[str]:
    """The stored conditions."""
    return sorted(p.parent.name for p in root.glob("*/index.json"))


def read(root: Path, condition: str) -> Condition:
    """A stored condition."""
    index = files.read_json(root / condition / "index.json")
    protocol = protocols.Protocol(index["protocol"]["name"], index["protocol"]["conventions"])
    return Condition(condition, protocol, index["spec"], index["sigma_255"], index["measured"])


def spread(patch_folder: Path, limit: int | None) -> np.ndarray:
    """Numbers of at most `limit` of the validation patches, evenly spread."""
    total = len(patches.load(patch_folder, "val"))
    return np.linspace(0, total - 1, total if limit is None else min(limit, total)).round().astype(int)


def validation(root: Path, patch_folder: Path, condition: str, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clean (N, H, W, C) uint8 and noisy float32 of the validation patches with the numbers `chosen`."""
    clean, noisy = patches.load(patch_folder, "val"), np.load(root / condition / "val.npy", mmap_mode="r")
    return clean[chosen], noisy[chosen]


def draw_validation(
    patch_folder: Path, chosen: np.ndarray, spec: NoiseSpec, seed: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Level (stated, else the RMS), clean and noisy as `validation`, for noise that is no stored condition."""
    clean, places = patches.load(patch_folder, "val")[chosen], patches.index(patch_folder, "val")
    keys = [seeding.generator(seed, places[n].id, spec.model_dump_json()) for n in chosen]
    noisy = np.stack([_draw(image, spec, key, None) for image, key in zip(clean, keys, strict=True)])
    stated = noise.level(spec)
    return 255 * metrics.mse(clean / 255.0, noisy, data_range=1) ** 0.5 if stated is None else stated, clean, noisy


def test(
    raw: Path,
    root: Path,
    condition: str,
    channels: int,
    *,
    draw: int | None = None,
    chosen: Container[str] | None = None,
) -> Iterator[TestImage]:
    """The test images of a condition, one at a time, of one draw of the noise or all, the `chosen` images or all.

    ValueError where a stored file is not what was written.
    """
    rows = {row.image: row for row in manifest.read(raw, "test")}
    for entry in files.read_json(root / condition / "index.json")["test"]:
        path, row = root / condition / entry["file"], rows[entry["image"]]
        if draw not in (None, entry["draw"]) or (chosen is not None and row.image not in chosen):
            continue
        if files.sha256(path) != entry["sha256"]:
            raise ValueError(f"{path}: differs from what add-noise wrote; run `dvc repro -f add-noise`")
        clean = _read(raw / row.path, channels)
        yield TestImage(row.image, row.label, row.group, tuple(row.sets.split()), entry["draw"], clean, np.load(path))


def curve(raw: Path, params: Params) -> Iterator[tuple[float, TestImage]]:
    """(sigma_255, image) for every level of evaluate.curve: crops of test images under the training's kind of noise.

    Nothing where that is not Gaussian. Drawn here, from (seed, image id, level): the same pixels for every model.
    """
    settings, spec = params.evaluate.curve, params.noise.train
    if not isinstance(spec, Gaussian):
        return
    rows = manifest.read(raw, "test")
    chosen = np.linspace(0, len(rows) - 1, min(settings.images, len(rows))).round().astype(int)
    for row in (rows[n] for n in chosen):
        clean = images.middle(_read(raw / row.path, params.data.channels), settings.crop)
        for level in settings.levels:
            one = spec.model_copy(update={"sigma_255": level})
            noisy = _draw(clean, one, seeding.generator(params.seed, row.image, "curve", f"{level:g}"), None)
            yield level, TestImage(row.image, row.label, row.group, tuple(row.sets.split()), 0, clean, noisy)


def _write_val(folder: Path, params: Params, condition: str, spec: NoiseSpec, path: Path) -> float:
    """Store the noisy validation patches; returns the RMS of the noise in 8-bit units."""
    clean, recorded = patches.load(folder, "val"), patches.load_noisy(folder, "val")
    noisy = np.lib.format.open_memmap(path, "w+", np.float32, clean.shape)
    total = 0.0
    for n, place in enumerate(patches.index(folder, "val")):
        generator = seeding.generator(params.seed, place.id, condition)
        noisy[n] = _draw(clean[n], spec, generator, None if recorded is None else recorded[n])
        total += metrics.mse(clean[n] / 255.0, noisy[n], data_range=1)
    noisy.flush()
    return float(round(255 * (total / len(clean)) ** 0.5, 4))


def _write_test(
    raw: Path, row: manifest.Row, n: int, draw: int, params: Params, condition: str, spec: NoiseSpec, folder: Path
) -> dict[str, Any]:
    clean = _read(raw / row.path, params.data.channels)
    if params.protocol.legacy_seed:
        noisy = _legacy(clean, spec)
    else:
        recorded = _read(raw / row.noisy, params.data.channels) if row.noisy else None
        noisy = _draw(clean, spec, seeding.generator(params.seed, row.image, condition, draw), recorded)
    path = folder / f"test-{n:05d}-{draw}.npy"
    np.save(path, noisy)
    psnr = metrics.capped_psnr(clean / 255.0, noisy, data_range=1)
    entry = {"image": row.image, "draw": draw, "file": path.name, "sha256": files.sha256(path)}
    return entry | {"psnr_noisy": psnr}


def _read(path: Path, channels: int) -> np.ndarray:
    pixels = images.read(path, channels)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _draw(clean: np.ndarray, spec: NoiseSpec, generator: torch.Generator, recorded: np.ndarray | None) -> np.ndarray:
    """(H, W, C) uint8 to noisy (H, W, C) float32."""
    noisy = noise.add(_planar(clean), generator, spec, None if recorded is None else _planar(recorded))
    return noisy[0].permute(1, 2, 0).contiguous().numpy()


def _planar(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def _legacy(clean: np.ndarray, spec: NoiseSpec) -> np.ndarray:
    """Classic seeding: numpy's global generator at 0 before each image, float64 normal numbers of the image's shape."""
    assert isinstance(spec, Gaussian) and isinstance(spec.sigma_255, float), "checked by Params"
    normal: np.ndarray = np.random.RandomState(0).standard_normal(clean.shape)
    noisy = (clean / 255.0).astype(np.float32) + spec.sigma_255 / 255 * normal
    if spec.clip:
        noisy = noisy.clip(0, 1)
    return (np.round(noisy * 255) / 255 if spec.quantise else noisy).astype(np.float32)
