"""Kinds of noise that the page can add: a description and a slider for the level of each."""

from dataclasses import dataclass

import numpy as np
import torch

from denoiselab.config import noise_presets
from denoiselab.imaging.tensors import interleaved, planar
from denoiselab.noise import synthesis
from denoiselab.runtime.errors import UserError

SEED = 0  # the same image and level give the same noise


@dataclass(frozen=True)
class Kind:
    """A kind of config.noise_presets with the slider for its level."""

    title: str
    slider: str  # label: the level and its unit
    low: float
    high: float
    start: float
    step: float
    words: str  # where it occurs and what it looks like


KINDS: dict[str, Kind] = {
    "gaussian": Kind(
        "Gaussian",
        "Standard deviation (of 255)",
        1,
        75,
        25,
        1,
        "The standard model, close to many sensors: every pixel gets a random error, equally large in bright and dark "
        "areas.",
    ),
    "poisson": Kind(
        "Photon noise (Poisson)",
        "Photons in a white pixel",
        2,
        200,
        30,
        1,
        "The fewer photons a pixel collects, the noisier the image, as in fluorescence microscopy and at night.",
    ),
    "poisson_gaussian": Kind(
        "Camera (Poisson-Gaussian)",
        "Electrons per 8-bit level",
        0.2,
        8.0,
        0.5,
        0.1,
        "Raw sensor noise: photon noise plus 3 electrons of read noise. Few electrons mean a high ISO setting.",
    ),
    "camera": Kind(
        "Camera, developed",
        "Electrons per 8-bit level",
        0.2,
        8.0,
        0.5,
        0.1,
        "Sensor noise added in linear light, before the tone curve: strongest in the shadows.",
    ),
    "camera_jpeg": Kind(
        "Camera JPEG",
        "Shot noise of the raw signal",
        0.0005,
        0.012,
        0.002,
        0.0005,
        "A camera's whole processing: blotches of several pixels, strongest in the shadows, and compression. For "
        "colour images.",
    ),
    "iso": Kind(
        "High ISO (colour)",
        "Intensity",
        0.1,
        1.0,
        0.5,
        0.05,
        "Grain and colour blotches, as in a phone photo of a dim room. For colour images.",
    ),
    "speckle": Kind(
        "Speckle",
        "Strength (share of the pixel's value)",
        0.02,
        0.6,
        0.2,
        0.02,
        "Proportional to the brightness, zero in black areas: radar, ultrasound, laser light.",
    ),
    "salt_pepper": Kind(
        "Salt and pepper",
        "Share of the pixels",
        0.01,
        0.5,
        0.1,
        0.01,
        "Single pixels become black or white: dead pixels, transmission errors. A median filter works well; networks "
        "trained on other noise do not.",
    ),
    "uniform": Kind(
        "Uniform",
        "Half width (of 255)",
        1,
        120,
        40,
        1,
        "Errors up to the half width, all equally likely: the noise of coarse rounding.",
    ),
    "multiplicative": Kind(
        "Multiplicative",
        "Largest deviation (share of the pixel's value)",
        0.02,
        0.6,
        0.3,
        0.02,
        "Every pixel is multiplied by its own random sensitivity: an uncalibrated sensor.",
    ),
    "jpeg": Kind(
        "JPEG",
        "Quality",
        1,
        95,
        15,
        1,
        "Compression artefacts: blocks, and ringing along edges.",
    ),
    "webp": Kind(
        "WebP",
        "Quality",
        1,
        95,
        15,
        1,
        "Compression artefacts: less blocking than JPEG, more blur.",
    ),
    "downscale": Kind(
        "Low resolution",
        "Reduction factor",
        2,
        8,
        3,
        1,
        "Reduced and enlarged again: detail is lost. Denoisers can only guess it.",
    ),
}


def added(clean: np.ndarray, kind: str, level: float) -> np.ndarray:
    """Add noise to `clean` (H, W, C) float32 in [0, 1]; returns float32. UserError if `kind` needs colour and the
    image is gray."""
    spec = noise_presets.of_kind(kind, level)
    if kind in ("iso", "camera_jpeg") and clean.shape[2] != 3:
        raise UserError("this noise is for colour images only; choose another kind for a gray image")
    generator = torch.Generator().manual_seed(SEED)
    return interleaved(synthesis.add(planar(clean), generator, spec))
