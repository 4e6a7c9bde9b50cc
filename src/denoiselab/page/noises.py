"""The noises that the page adds: each kind of the project with the one level that a slider sets, in plain words."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from denoiselab import noise
from denoiselab.config.noise import (
    Downscale,
    Gaussian,
    Iso,
    Jpeg,
    Multiplicative,
    NoiseSpec,
    Poisson,
    PoissonGaussian,
    SaltPepper,
    Speckle,
    Uniform,
    Webp,
)

SEED = 0  # the same picture and level give the same noise
OPEN = {"clip": False, "quantise": False}
FILE = {"clip": True, "quantise": True}


@dataclass(frozen=True)
class Kind:
    """A noise with its slider: `spec` of a level between `low` and `high`."""

    title: str
    slider: str  # what the level is, and in which unit
    low: float
    high: float
    start: float
    step: float
    words: str  # where it is met and what it looks like
    spec: Callable[[float], NoiseSpec]


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
        lambda level: Gaussian(kind="gaussian", sigma_255=level, per_channel=True, **OPEN),
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
        lambda level: Poisson(kind="poisson", photons=level, **OPEN),
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
        lambda level: PoissonGaussian(kind="poisson_gaussian", gain=level, read_noise=3.0, **FILE),
    ),
    "iso": Kind(
        "High ISO (colour)",
        "Intensity",
        0.1,
        1.0,
        0.5,
        0.05,
        "Grain and blotches of wrong colour, as in a phone's picture of a dim room. For colour pictures.",
        lambda level: Iso(
            kind="iso", color_shift=(level / 10, level / 10), intensity=(level, level), clip=True, quantise=False
        ),
    ),
    "speckle": Kind(
        "Speckle",
        "Strength (share of the pixel's value)",
        0.02,
        0.6,
        0.2,
        0.02,
        "Noise that grows with the brightness and leaves black black: radar, ultrasound, laser light.",
        lambda level: Speckle(kind="speckle", sigma=level, **OPEN),
    ),
    "salt_pepper": Kind(
        "Salt and pepper",
        "Share of the values that are lost",
        0.01,
        0.5,
        0.1,
        0.01,
        "Single values are lost altogether and become black or white: dead pixels, errors on the line. A median filter "
        "does well here, and nets that never saw such noise do not.",
        lambda level: SaltPepper(kind="salt_pepper", amount=level, salt=0.5, per_channel=True, **FILE),
    ),
    "uniform": Kind(
        "Uniform",
        "Half width (of 255)",
        1,
        120,
        40,
        1,
        "Every value is off by anything up to the width, all amounts as likely: the noise of coarse rounding.",
        lambda level: Uniform(kind="uniform", width_255=level, **OPEN),
    ),
    "multiplicative": Kind(
        "Uneven pixels (multiplicative)",
        "Largest deviation (share of the pixel's value)",
        0.02,
        0.6,
        0.3,
        0.02,
        "Every pixel has a sensitivity of its own, and its value is multiplied by it: an uncalibrated chip.",
        lambda level: Multiplicative(
            kind="multiplicative",
            factor=(1 - level, 1 + level),
            per_channel=True,
            per_pixel=True,
            clip=True,
            quantise=False,
        ),
    ),
    "jpeg": Kind(
        "JPEG",
        "Quality (the lower, the worse)",
        1,
        95,
        15,
        1,
        "No noise, but what squeezing a file leaves behind: blocks, and ripples along the edges.",
        lambda level: Jpeg(kind="jpeg", quality=round(level), **FILE),
    ),
    "webp": Kind(
        "WebP",
        "Quality (the lower, the worse)",
        1,
        95,
        15,
        1,
        "As JPEG, by a younger method: fewer blocks, more smear.",
        lambda level: Webp(kind="webp", quality=round(level), **FILE),
    ),
    "downscale": Kind(
        "Low resolution",
        "Times smaller",
        2,
        8,
        3,
        1,
        "Made smaller and brought back to size: the detail is gone. No denoiser knows it; some guess it.",
        lambda level: Downscale(kind="downscale", factor=round(level), method="bicubic", **FILE),
    ),
}


def added(clean: np.ndarray, kind: str, level: float) -> np.ndarray:
    """`clean` (H, W, C) float32 in [0, 1] with noise, float32.

    ValueError where the kind is not for such a picture.
    """
    spec = KINDS[kind].spec(level)
    if isinstance(spec, Iso) and clean.shape[2] != 3:
        raise ValueError("this noise is for colour pictures, and the picture is gray; choose another kind")
    generator = torch.Generator().manual_seed(SEED)
    planar = torch.from_numpy(np.ascontiguousarray(clean.transpose(2, 0, 1)))[None]
    return noise.add(planar, generator, spec)[0].permute(1, 2, 0).contiguous().numpy()
