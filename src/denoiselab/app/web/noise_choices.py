"""The noises that the page adds: each kind of the project with the one level that a slider sets, in plain words."""

from dataclasses import dataclass

import numpy as np
import torch

from denoiselab.config import noise_presets
from denoiselab.imaging.tensors import interleaved, planar
from denoiselab.noise import synthesis
from denoiselab.runtime.errors import UserError

SEED = 0  # the same picture and level give the same noise


@dataclass(frozen=True)
class Kind:
    """A noise of config.catalogue with the slider of its level."""

    title: str
    slider: str  # what the level is, and in which unit
    low: float
    high: float
    start: float
    step: float
    words: str  # where it is met and what it looks like


KINDS: dict[str, Kind] = {
    "gaussian": Kind(
        "Gaussian",
        "Strength (standard deviation, of 255)",
        1,
        75,
        25,
        1,
        "The textbook's noise, and what many sensors come close to: every pixel is off by a random amount, as much in "
        "the light as in the dark.",
    ),
    "poisson": Kind(
        "Few photons (Poisson)",
        "Photons in a white pixel",
        2,
        200,
        30,
        1,
        "Light comes in grains. The fewer photons a pixel catches, the rougher the picture, as in fluorescence "
        "microscopy and at night.",
    ),
    "poisson_gaussian": Kind(
        "Camera (photons and electronics)",
        "Electrons for each of the 255 steps",
        0.2,
        8.0,
        0.5,
        0.1,
        "What a camera's chip writes: the grain of the light and, on top of it, 3 electrons of electronic noise. "
        "Few electrons are a high ISO setting.",
    ),
    "iso": Kind(
        "High ISO (colour)",
        "Intensity",
        0.1,
        1.0,
        0.5,
        0.05,
        "Grain and blotches of wrong colour, as in a phone's picture of a dim room. For colour pictures.",
    ),
    "speckle": Kind(
        "Speckle",
        "Strength (share of the pixel's value)",
        0.02,
        0.6,
        0.2,
        0.02,
        "Noise that grows with the brightness and leaves black black: radar, ultrasound, laser light.",
    ),
    "salt_pepper": Kind(
        "Salt and pepper",
        "Share of the pixels that are lost",
        0.01,
        0.5,
        0.1,
        0.01,
        "Single pixels are lost altogether and become black or white: dead pixels, errors on the line. A median filter "
        "does well here, and nets that never saw such noise do not.",
    ),
    "uniform": Kind(
        "Uniform",
        "Half width (of 255)",
        1,
        120,
        40,
        1,
        "Every value is off by anything up to the width, all amounts as likely: the noise of coarse rounding.",
    ),
    "multiplicative": Kind(
        "Uneven pixels (multiplicative)",
        "Largest deviation (share of the pixel's value)",
        0.02,
        0.6,
        0.3,
        0.02,
        "Every pixel has a sensitivity of its own, and its value is multiplied by it: an uncalibrated chip.",
    ),
    "jpeg": Kind(
        "JPEG",
        "Quality (the lower, the worse)",
        1,
        95,
        15,
        1,
        "No noise, but what squeezing a file leaves behind: blocks, and ripples along the edges.",
    ),
    "webp": Kind(
        "WebP",
        "Quality (the lower, the worse)",
        1,
        95,
        15,
        1,
        "As JPEG, by a younger method: fewer blocks, more smear.",
    ),
    "downscale": Kind(
        "Low resolution",
        "Times smaller",
        2,
        8,
        3,
        1,
        "Made smaller and brought back to size: the detail is gone. No denoiser knows it; some guess it.",
    ),
}


def added(clean: np.ndarray, kind: str, level: float) -> np.ndarray:
    """`clean` (H, W, C) float32 in [0, 1] with noise, float32.

    ValueError where the kind is not for such a picture.
    """
    spec = noise_presets.of_kind(kind, level)
    if kind == "iso" and clean.shape[2] != 3:
        raise UserError("this noise is for colour pictures, and the picture is gray; choose another kind")
    generator = torch.Generator().manual_seed(SEED)
    return interleaved(synthesis.add(planar(clean), generator, spec))
