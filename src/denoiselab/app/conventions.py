"""Conventions that papers mix up when they report PSNR under Gaussian noise, and which of them give a certain number.

Inputs change what the model restores, scorings what is made of its output. The first choice of each is that of the
project (denoiselab.metrics.protocols); one input and one scoring are varied at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from denoiselab.comparison import bootstrap
from denoiselab.data.readers import further_sets
from denoiselab.data.readers.folder import listed
from denoiselab.data.readers.sources import Sources
from denoiselab.imaging import dataset_images
from denoiselab.imaging.tensors import interleaved
from denoiselab.metrics import image_quality
from denoiselab.runtime import seeding
from denoiselab.runtime.errors import UserError

SIDE = 256  # pixels, of cropped and resized images
SEED = 0
CONFIDENCE, RESAMPLES = 0.95, 1000
CLEARLY = 0.01  # dB: two changes are named where they are nearer than one by this much
NEAR = 0.05  # dB

INPUTS = {
    "noise": {
        "unclipped": "noise not clipped",
        "clipped": "noisy image clipped to [0, 1]",
        "clipped8": "noisy image clipped and rounded to 8 bits",
    },
    "seeding": {
        "image": "noise seeded by image",
        "shared": "one random generator for all images",
        "legacy": "numpy seed 0 before each image",
    },
    "geometry": {
        "whole": "whole images",
        "crop": f"centre crops of {SIDE}x{SIDE}",
        "resize": f"images resized to {SIDE}x{SIDE}",  # bilinear with antialiasing, as torchvision's Resize
    },
}
SCORINGS = {
    "output": {
        "uint8": "output rounded to 8 bits",
        "clipped": "output clipped, not rounded",
        "raw": "output neither clipped nor rounded",
    },
    "channels": {
        "all": "all channels together",
        "y": "Y of YCbCr, 16 to 235",  # ITU-R BT.601, as MATLAB's rgb2ycbcr
        "y_full": "Y of YCbCr, full range",
        "mean": "mean of the channels' PSNR",
    },
    "border": {"0": "no border cut", "4": "border of 4 pixels cut", "8": "border of 8 pixels cut"},
    "average": {"psnr": "mean of the images' PSNR", "mse": "PSNR of the mean MSE"},
    "peak": {"255": "peak 255", "maximum": "peak: the image's maximum"},
}
Y_WEIGHTS = {"y": np.array([65.481, 128.553, 24.966]) / 255, "y_full": np.array([0.299, 0.587, 0.114])}

Changes = dict[str, str]  # the choices that differ from the project's; {} is its protocol
Clean = Sequence[tuple[str, np.ndarray]]  # id, (H, W, C) uint8
Restore = Callable[[np.ndarray], np.ndarray]  # noisy to restored, (H, W, C) float in [0, 1], not clipped


@dataclass(frozen=True)
class Found:
    """A test set's PSNR under some conventions, with its bootstrap interval over images, in dB."""

    changes: Changes
    psnr: float
    low: float
    high: float

    @property
    def words(self) -> str:
        named = {**INPUTS, **SCORINGS}
        return " and ".join(named[key][value] for key, value in self.changes.items()) or "the project's protocol"


def read(place: str, channels: int, limit: int | None) -> tuple[Clean, int]:
    """The images of a registered test set or of a folder, evenly spread if there are more than `limit`; number of all.

    With `channels` 1, and if all are gray, they have one channel unless the set is a colour one. UserError for an
    unknown set, and for files that cannot be read.
    """
    with Sources() as sources:
        if place in further_sets.TESTS:
            stated, listing = further_sets.TESTS[place]
            found = [(source.image, source.file) for source in listing(sources)]
        elif Path(place).is_dir():
            stated, found = None, [(name, Path(place) / name) for name in listed(Path(place), "--set")]
        else:
            raise UserError(f"--set {place}: choose from: {', '.join(further_sets.TESTS)}, or give a folder")
        if not found:
            raise UserError(f"--set {place}: has no images")
        chosen = np.linspace(0, len(found) - 1, min(limit or len(found), len(found))).round().astype(int)
        images = [(found[n][0], dataset_images.read(found[n][1], stated or 3)) for n in chosen]
    if stated is None and (channels == 1 or all((np.ptp(pixels, axis=2) == 0).all() for _, pixels in images)):
        images = [(name, dataset_images.gray(pixels)) for name, pixels in images]
    return [(name, pixels if pixels.ndim == 3 else pixels[:, :, None]) for name, pixels in images], len(found)


def one_at_a_time(choices: dict[str, dict[str, str]]) -> list[Changes]:
    """The project's protocol, then every single change from it."""
    return [{}, *({key: value} for key, values in choices.items() for value in [*values][1:])]


def measure(clean: Clean, restore: Restore, sigma_255: float) -> list[Found]:
    """PSNR under every change of the input with every change of the scoring.

    Restores each image once for every change of the input. Changes of channels are left out for gray images. UserError
    for an output that is not finite, and for images too small to cut their border.
    """
    inputs, scorings = one_at_a_time(INPUTS), one_at_a_time(SCORINGS)
    if all(pixels.shape[2] == 1 for _, pixels in clean):
        scorings = [changes for changes in scorings if "channels" not in changes]
    psnr = np.empty((len(inputs), len(scorings), len(clean)))
    for i, own in enumerate(inputs):
        for k, (pixels, noisy) in enumerate(_noisy(clean, sigma_255, **own)):
            restored = restore(noisy)
            if not np.isfinite(restored).all():
                raise UserError(f"{clean[k][0]}: the model's output is not finite")
            psnr[i, :, k] = [_psnr(pixels, restored, **changes) for changes in scorings]
    keys = [own | changes for own in inputs for changes in scorings]
    return [
        Found(changes, mean, low, high) for changes, (mean, low, high) in zip(keys, _means(psnr, scorings), strict=True)
    ]


def ranked(found: Sequence[Found], given: float) -> list[Found]:
    """The protocol, every single change, and the nearest pair of changes, the nearest to the number `given` first."""
    pairs = sorted((one for one in found if len(one.changes) > 1), key=partial(_distance, given))
    chosen = [one for one in found if len(one.changes) < 2]
    return sorted([*chosen, *pairs[:1]], key=partial(_distance, given))


def summary(found: Sequence[Found], given: float) -> str:
    """The convention nearest to the number `given`, two changes only if they are clearly nearer than one, and how many
    are as near."""
    single = min((one for one in found if len(one.changes) < 2), key=partial(_distance, given))
    nearest = min(found, key=partial(_distance, given))
    clearly = abs(single.psnr - given) - abs(nearest.psnr - given) >= CLEARLY
    sentence = "; ".join(
        f"{one.psnr:.2f} dB with {one.words}, {abs(one.psnr - given):.2f} dB from {given:g}"
        for one in ([single, nearest] if clearly else [single])
    )
    near = sum(abs(one.psnr - given) <= NEAR for one in found)
    return f"{sentence}. {near} of {len(found)} combinations are within {NEAR:g} dB."


def _distance(given: float, one: Found) -> tuple[float, int]:
    return abs(one.psnr - given), len(one.changes)


def _noisy(
    clean: Clean, sigma_255: float, *, noise: str = "unclipped", seeding: str = "image", geometry: str = "whole"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clean (H, W, C) uint8 and noisy float32 images."""
    shared = torch.Generator().manual_seed(SEED)
    for name, original in clean:
        pixels = _framed(original, geometry)
        noisy = pixels / np.float32(255) + sigma_255 / 255 * _normal(pixels.shape, name, sigma_255, seeding, shared)
        if noise != "unclipped":
            noisy = noisy.clip(0, 1)
        yield pixels, (np.round(noisy * 255) / 255 if noise == "clipped8" else noisy).astype(np.float32)


def _framed(pixels: np.ndarray, geometry: str) -> np.ndarray:
    if geometry == "crop":
        return dataset_images.middle(pixels, SIDE)
    if geometry == "resize":
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).reshape(SIDE, SIDE, -1)
    return pixels


def _normal(shape: tuple[int, ...], name: str, sigma_255: float, by: str, shared: torch.Generator) -> np.ndarray:
    """Standard normal noise (H, W, C)."""
    if by == "legacy":
        return np.random.RandomState(0).standard_normal(shape)
    generator = shared if by == "shared" else seeding.generator(SEED, name, f"sigma{sigma_255:g}", 0)
    height, width, channels = shape
    return interleaved(torch.randn((1, channels, height, width), generator=generator))


def _psnr(
    clean: np.ndarray,
    restored: np.ndarray,
    *,
    output: str = "uint8",
    channels: str = "all",
    border: str = "0",
    peak: str = "255",
    average: str = "psnr",  # of the images, see _means
) -> float:
    """PSNR of one image in dB."""
    scaled = 255 * np.asarray(restored, np.float64)
    if output != "raw":
        scaled = scaled.clip(0, 255)
    if output == "uint8":
        scaled = np.round(scaled)
    cut = int(border)
    inside = (slice(cut, -cut or None),) * 2
    x, y = clean[inside].astype(np.float64), scaled[inside]
    if not x.size:
        raise UserError(f"images of {clean.shape[1]}x{clean.shape[0]} pixels are too small to cut a border of {cut}")
    if channels in Y_WEIGHTS:
        x, y = x @ Y_WEIGHTS[channels], y @ Y_WEIGHTS[channels]  # the offset of 16 cancels out
    highest = 255.0 if peak == "255" else max(float(clean.max()), 1.0)
    planes = [(x[..., c], y[..., c]) for c in range(x.shape[2])] if channels == "mean" else [(x, y)]
    return float(np.mean([image_quality.capped_psnr(a, b, data_range=highest) for a, b in planes]))


def _means(psnr: np.ndarray, scorings: list[Changes]) -> Iterator[tuple[float, float, float]]:
    """Mean and interval over the images of (inputs, scorings, images) PSNR."""
    pooled = np.array(["average" in changes for changes in scorings])[None, :, None]
    values = np.where(pooled, 10 ** (-psnr / 10), psnr).reshape(-1, psnr.shape[2])
    found = bootstrap.mean_intervals(values, confidence=CONFIDENCE, resamples=RESAMPLES, seed=SEED)
    for n, one in enumerate(found):
        if pooled[0, n % len(scorings), 0]:
            yield _decibels(one.mean), _decibels(one.high), _decibels(one.low)
        else:
            yield one.mean, one.low, one.high


def _decibels(mse: float) -> float:
    return float(-10 * np.log10(mse))
