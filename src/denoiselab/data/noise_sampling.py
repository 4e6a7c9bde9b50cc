"""Fixed noise for validation and test, drawn once for all models, seeded by (seed, image, condition, draw).

`write` (stage add-noise) stores it for every test condition, see denoiselab.data.noisy_sets. Training noise is drawn at
every step by training.loop.fit; for self-supervised training `fixed_training_noise` draws it once for each patch.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from denoiselab.config import Params
from denoiselab.config.noise import AsIs, Gaussian, NoiseSpec, Real
from denoiselab.data import manifest, noisy_sets, patches
from denoiselab.data.noisy_sets import TestImage
from denoiselab.imaging import arrays, dataset_images, depths
from denoiselab.imaging.tensors import interleaved, planar
from denoiselab.metrics import image_quality, protocols
from denoiselab.noise import synthesis
from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.runtime import files, parallel, seeding

BLOCK = 256  # patches drawn at once


def write(raw: Path, patch_folder: Path, params: Params, out: Path) -> None:
    """Draw and store the noise of every test condition.

    Without clean images the PSNR is None and the noise level is estimated. UserError for `real` noise without pairs, or
    if images or patches are damaged or changed.
    """
    rows = manifest.read(raw, "test")
    patches.verify(patch_folder, "val")
    for condition, spec in params.noise.test.items():
        folder = out / condition
        folder.mkdir(parents=True, exist_ok=True)
        measured = _write_val(patch_folder, params, condition, spec, folder / "val.npy")
        drawn = [(n, row, draw) for n, row in enumerate(rows) for draw in range(params.protocol.draws)]
        write_test = partial(_write_test, raw.absolute(), params, condition, spec, folder.absolute())
        entries = list(parallel.each(params.parallel, write_test, drawn))
        stated = synthesis.level(spec)
        protocol = protocols.of(spec, params.protocol, manifest.dtype(raw))
        noisy_sets.write(
            folder,
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


def validation(
    patch_folder: Path, chosen: np.ndarray, spec: NoiseSpec, seed: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Noise level (of the spec, else the RMS), clean and noisy validation patches, for noise that is not stored.

    Otherwise as noisy_sets.validation.
    """
    clean, places = patches.load(patch_folder, "val")[chosen], patches.index(patch_folder, "val")
    keys = [seeding.generator(seed, places[n].id, spec.model_dump_json()) for n in chosen]
    noisy = np.stack([_draw(image, spec, key, None) for image, key in zip(clean, keys, strict=True)])
    stated = synthesis.level(spec)
    return (
        255 * image_quality.mse(_exact(clean), noisy, data_range=1) ** 0.5 if stated is None else stated,
        clean,
        noisy,
    )


def fixed_training_noise(
    clean: patches.Stack, recorded: patches.Stack | None, spec: NoiseSpec, seed: int
) -> patches.Stack:
    """Noisy training patches (N, H, W, C) with the same noise at every access, for self-supervised training.

    Real noisy patches are returned unchanged; overlapping patches get independent noise. UserError for `real` noise
    without pairs.
    """
    if isinstance(spec, AsIs):
        return clean
    if isinstance(spec, Real) and recorded is not None:
        return recorded
    return Drawn(clean, recorded, spec, seed)


class Drawn(patches.Stack):
    """Noisy patches (N, H, W, C), float32 in 8-bit units, generated on access, reproducibly."""

    white = 255

    def __init__(self, clean: patches.Stack, recorded: patches.Stack | None, spec: NoiseSpec, seed: int):
        self.clean, self.recorded, self.spec, self.seed = clean, recorded, spec, seed
        self.shape, self.dtype = clean.shape, np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        return ((start, self[np.arange(start, min(start + BLOCK, len(self)))]) for start in range(0, len(self), BLOCK))

    def __getitem__(self, rows: int | np.integer[Any] | np.ndarray) -> np.ndarray:
        if isinstance(rows, np.ndarray):
            return np.stack([self[row] for row in rows.tolist()])
        partner = None if self.recorded is None else self.recorded[rows]
        key = seeding.generator(self.seed, "train", rows, self.spec.model_dump_json())
        return 255 * _draw(self.clean[rows], self.spec, key, partner)

    def __reduce__(self) -> tuple[type["Drawn"], tuple[Any, ...]]:
        return Drawn, (self.clean, self.recorded, self.spec, self.seed)


def curve(raw: Path, params: Params) -> Iterator[tuple[float, TestImage]]:
    """(sigma_255, image) for every level of evaluate.curve: central crops of test images with the training noise model.

    Empty if that is not Gaussian. The noise depends on (seed, image id, level) only: the same pixels for every model.
    """
    settings, spec = params.evaluate.curve, params.noise.train
    if not isinstance(spec, Gaussian):
        return
    rows = manifest.read(raw, "test")
    chosen = np.linspace(0, len(rows) - 1, min(settings.images, len(rows))).round().astype(int)
    for row in (rows[n] for n in chosen):
        clean = dataset_images.middle(noisy_sets.read_image(raw, row, params.data.channels), settings.crop)
        for level in settings.levels:
            at_level = spec.model_copy(update={"sigma_255": level})
            noisy = _draw(clean, at_level, seeding.generator(params.seed, row.image, "curve", f"{level:g}"), None)
            sets, psnr = tuple(row.sets.split()), image_quality.capped_psnr(_exact(clean), noisy, data_range=1)
            yield level, TestImage(row.image, row.label, row.group, sets, 0, clean, noisy, psnr)


def _write_val(folder: Path, params: Params, condition: str, spec: NoiseSpec, path: Path) -> float:
    """Store the noisy validation patches; returns the RMS noise level in 8-bit units (estimated if as_is)."""
    clean, recorded = patches.load(folder, "val"), patches.load_noisy(folder, "val")
    total = 0.0
    partners: Iterable[np.ndarray | None] = [None] * len(clean) if recorded is None else recorded
    drawn = zip(patches.index(folder, "val"), clean, partners, strict=True)
    draw = partial(_draw_val, params.seed, condition, spec)
    with arrays.npy(path, clean.shape, np.float32) as write:
        for patch, error in parallel.each(params.parallel, draw, drawn):
            write(patch)
            total += error
    return float(round(255 * (total / len(clean)) ** 0.5, 4))


def _draw_val(
    seed: int, condition: str, spec: NoiseSpec, patch: tuple[patches.Place, np.ndarray, np.ndarray | None]
) -> tuple[np.ndarray, float]:
    """A noisy validation patch and its mean squared error, estimated if there is no clean image."""
    place, clean, recorded = patch
    noisy = _draw(clean, spec, seeding.generator(seed, place.id, condition), recorded)
    if isinstance(spec, AsIs):
        return noisy, (estimate_sigma_255(planar(depths.to_unit(clean))).item() / 255) ** 2
    return noisy, image_quality.mse(_exact(clean), noisy, data_range=1)


def _write_test(
    raw: Path, params: Params, condition: str, spec: NoiseSpec, folder: Path, drawn: tuple[int, manifest.Row, int]
) -> dict[str, Any]:
    """Store one draw of a test image's noise; returns its entry in index.json."""
    n, row, draw = drawn
    clean = noisy_sets.read_image(raw, row, params.data.channels)
    if params.protocol.legacy_seed:
        noisy = _legacy(clean, spec)
    else:
        recorded = noisy_sets.read_image(raw, row, params.data.channels, noisy=True) if row.noisy else None
        noisy = _draw(clean, spec, seeding.generator(params.seed, row.image, condition, draw), recorded)
    path = folder / f"test-{n:05d}-{draw}.npy"
    arrays.write_npy(path, noisy)
    psnr = None if isinstance(spec, AsIs) else image_quality.capped_psnr(_exact(clean), noisy, data_range=1)
    entry = {"image": row.image, "draw": draw, "file": path.name, "sha256": files.sha256(path)}
    return entry | {"psnr_noisy": psnr}


def _draw(clean: np.ndarray, spec: NoiseSpec, generator: torch.Generator, recorded: np.ndarray | None) -> np.ndarray:
    """Noisy (H, W, C) float32 image from a clean one (H, W, C) of the data's depth."""
    image, partner = (None if pixels is None else planar(depths.to_unit(pixels)) for pixels in (clean, recorded))
    assert image is not None
    return interleaved(synthesis.add(image, generator, spec, partner, depths.steps(clean.dtype)))


def _exact(pixels: np.ndarray) -> np.ndarray:
    """Stored pixels with white 1, in float64 for integers."""
    return pixels / float(depths.white(pixels.dtype))


def _legacy(clean: np.ndarray, spec: NoiseSpec) -> np.ndarray:
    """Legacy seeding: numpy.random.seed(0) before each image, float64 standard normal noise of the image's shape."""
    assert isinstance(spec, Gaussian) and isinstance(spec.sigma_255, float), "checked by Params"
    normal: np.ndarray = np.random.RandomState(0).standard_normal(clean.shape)
    noisy = _exact(clean).astype(np.float32) + spec.sigma_255 / 255 * normal
    if spec.clip:
        noisy = noisy.clip(0, 1)
    steps = depths.steps(clean.dtype)
    return (np.round(noisy * steps) / steps if spec.quantise and steps else noisy).astype(np.float32)
