"""Noise models: pure functions (clean, generator, spec) -> noisy on any device.

Images are (N, C, H, W) float in [0, 1]; the noisy images have the same shape. Clipping and rounding are done by `add`,
according to the spec. Formulas and units: see denoiselab.config.noise.
"""

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from denoiselab.config.noise import (
    AsIs,
    Chain,
    Downscale,
    Gaussian,
    Iso,
    Jpeg,
    Multiplicative,
    NoiseSpec,
    Poisson,
    PoissonGaussian,
    Real,
    SaltPepper,
    Sometimes,
    Speckle,
    Uniform,
    Webp,
)
from denoiselab.noise.camera_jpeg import camera_jpeg
from denoiselab.noise.levels import drawn, normal_like
from denoiselab.noise.sensor import camera
from denoiselab.runtime.errors import UserError

SEEDS = 2**31  # range of the seeds passed to libraries with their own generators


def gaussian(clean: torch.Tensor, generator: torch.Generator, spec: Gaussian) -> torch.Tensor:
    """clean + N(0, s^2) with s = sigma_255 / 255."""
    shape = clean.shape if spec.per_channel else (len(clean), 1, *clean.shape[2:])
    normal = torch.randn(shape, generator=generator, device=clean.device, dtype=clean.dtype)
    return torch.addcmul(clean, normal, drawn(spec.sigma_255, clean, generator) / 255)


def poisson(clean: torch.Tensor, generator: torch.Generator, spec: Poisson) -> torch.Tensor:
    """P(photons clean) / photons."""
    photons = drawn(spec.photons, clean, generator)
    return torch.poisson(clean.clamp(min=0) * photons, generator=generator) / photons


def poisson_gaussian(clean: torch.Tensor, generator: torch.Generator, spec: PoissonGaussian) -> torch.Tensor:
    """(P(white clean) + N(0, read_noise^2)) / white with white = 255 gain electrons (Foi et al., IEEE TIP 2008)."""
    white = 255 * drawn(spec.gain, clean, generator)
    read = drawn(spec.read_noise, clean, generator)
    electrons = torch.poisson(clean.clamp(min=0) * white, generator=generator)
    return (electrons + read * normal_like(clean, generator)) / white


def speckle(clean: torch.Tensor, generator: torch.Generator, spec: Speckle) -> torch.Tensor:
    """clean + clean N(0, sigma^2)."""
    return clean + clean * drawn(spec.sigma, clean, generator) * normal_like(clean, generator)


def salt_pepper(clean: torch.Tensor, generator: torch.Generator, spec: SaltPepper) -> torch.Tensor:
    """1 with probability amount * salt, 0 with probability amount * (1 - salt), else clean."""
    shape = clean.shape if spec.per_channel else (len(clean), 1, *clean.shape[2:])
    amount = drawn(spec.amount, clean, generator)
    chance = torch.rand(shape, generator=generator, device=clean.device, dtype=clean.dtype)
    salted = torch.where(chance < amount * spec.salt, torch.ones_like(clean), clean)
    return torch.where((chance >= amount * spec.salt) & (chance < amount), torch.zeros_like(clean), salted)


def uniform(clean: torch.Tensor, generator: torch.Generator, spec: Uniform) -> torch.Tensor:
    """clean + U(-w, w) with w = width_255 / 255."""
    chance = torch.rand(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    return clean + drawn(spec.width_255, clean, generator) / 255 * (2 * chance - 1)


def compressed(clean: torch.Tensor, generator: torch.Generator, spec: Jpeg | Webp) -> torch.Tensor:
    """JPEG (4:2:0) or lossy WebP compression by OpenCV, image by image on the CPU."""
    extension, key = (".jpg", cv2.IMWRITE_JPEG_QUALITY) if spec.kind == "jpeg" else (".webp", cv2.IMWRITE_WEBP_QUALITY)
    low, high = spec.quality if isinstance(spec.quality, tuple) else (spec.quality, spec.quality)

    def compress(image: np.ndarray, seed: int) -> np.ndarray:
        pixels = np.round(image.clip(0, 1) * 255).astype(np.uint8)
        encoded = cv2.imencode(extension, pixels[:, :, ::-1], [key, low + seed % (high - low + 1)])[1]
        flag = cv2.IMREAD_COLOR if image.shape[2] == 3 else cv2.IMREAD_GRAYSCALE
        decoded = np.asarray(cv2.imdecode(encoded, flag)).reshape(image.shape)
        return decoded[:, :, ::-1].astype(np.float32) / 255

    return _each(clean, generator, compress)


def iso(clean: torch.Tensor, generator: torch.Generator, spec: Iso) -> torch.Tensor:
    """albumentations.ISONoise, which clips to [0, 1]. UserError for gray images."""
    from denoiselab.imaging import albumentations_adapter

    if clean.shape[1] != 3:
        raise UserError("noise iso is for colour images; data.channels is 1")
    return _each(
        clean, generator, lambda x, seed: albumentations_adapter.iso(x, seed, spec.color_shift, spec.intensity)
    )


def multiplicative(clean: torch.Tensor, generator: torch.Generator, spec: Multiplicative) -> torch.Tensor:
    """albumentations.MultiplicativeNoise, which clips to [0, 1]."""
    from denoiselab.imaging import albumentations_adapter

    settings = spec.factor, spec.per_channel, spec.per_pixel
    return _each(clean, generator, lambda x, seed: albumentations_adapter.multiplicative(x, seed, *settings))


def downscale(clean: torch.Tensor, generator: torch.Generator, spec: Downscale) -> torch.Tensor:
    """Downscale by area or antialiased bicubic interpolation, upscale by bicubic interpolation."""
    if not isinstance(spec.factor, tuple):
        return _rescaled(clean, spec.factor, spec)
    low, high = spec.factor
    factors = torch.randint(low, high + 1, (len(clean),), generator=generator, device=clean.device).tolist()
    return torch.cat([_rescaled(image[None], factor, spec) for image, factor in zip(clean, factors, strict=True)])


def _rescaled(clean: torch.Tensor, factor: int, spec: Downscale) -> torch.Tensor:
    """Downscale by `factor`, upscale to the original size."""
    height, width = clean.shape[-2:]
    size = [math.ceil(height / factor), math.ceil(width / factor)]
    if spec.method == "area":
        small = F.interpolate(clean, size, mode="area")
    else:
        small = F.interpolate(clean, size, mode="bicubic", antialias=True)
    return F.interpolate(small, (height, width), mode="bicubic")


NOISES: dict[str, Callable[[torch.Tensor, torch.Generator, Any], torch.Tensor]] = {
    "gaussian": gaussian,
    "poisson": poisson,
    "poisson_gaussian": poisson_gaussian,
    "camera": camera,
    "camera_jpeg": camera_jpeg,
    "speckle": speckle,
    "salt_pepper": salt_pepper,
    "uniform": uniform,
    "jpeg": compressed,
    "webp": compressed,
    "iso": iso,
    "multiplicative": multiplicative,
    "downscale": downscale,
}


def add(
    clean: torch.Tensor,
    generator: torch.Generator,
    spec: NoiseSpec,
    recorded: torch.Tensor | None = None,
    steps: int | None = 255,
) -> torch.Tensor:
    """Add noise to `clean`, then clip and quantise if the spec says so.

    `recorded`: real noisy images, required for `real`, which returns them. `as_is` returns `clean`. `steps`: see
    depths.steps. UserError for `real` without `recorded`.
    """
    if isinstance(spec, Real):
        if recorded is None:
            raise UserError("noise real: an image has no noisy counterpart; use data with pairs")
        return recorded  # in range and quantised, as files are; float files may be out of range
    if isinstance(spec, AsIs):
        return clean
    if isinstance(spec, Chain):
        noisy = clean
        for step in spec.steps:
            noisy = add(noisy, generator, step, recorded, steps)
    elif isinstance(spec, Sometimes):
        chance = torch.rand((len(clean), 1, 1, 1), generator=generator, device=clean.device)
        noisy = torch.where(chance < spec.p, add(clean, generator, spec.noise, recorded, steps), clean)
    else:
        noisy = NOISES[spec.kind](clean, generator, spec)
    if spec.clip == "half":
        chance = torch.rand((len(clean), 1, 1, 1), generator=generator, device=clean.device)
        return torch.where(chance < 0.5, _stored(noisy, steps, clip=True, quantise=spec.quantise), noisy)
    return _stored(noisy, steps, clip=spec.clip, quantise=spec.quantise)


def _stored(noisy: torch.Tensor, steps: int | None, *, clip: bool, quantise: bool) -> torch.Tensor:
    clipped = noisy.clamp(0, 1) if clip else noisy
    return (clipped * steps).round() / steps if quantise and steps else clipped


def level(spec: NoiseSpec) -> float | None:
    """Noise level of Gaussian noise in 8-bit units; None if it must be measured."""
    return spec.sigma_255 if isinstance(spec, Gaussian) and not isinstance(spec.sigma_255, tuple) else None


def _each(
    images: torch.Tensor, generator: torch.Generator, function: Callable[[np.ndarray, int], np.ndarray]
) -> torch.Tensor:
    """Apply a function of an (H, W, C) float32 array in [0, 1] and a seed to each image, on the CPU."""
    seeds = torch.randint(SEEDS, (len(images),), generator=generator, device=images.device).tolist()
    arrays = images.detach().clamp(0, 1).permute(0, 2, 3, 1).float().cpu().contiguous().numpy()
    results = [function(array, seed) for array, seed in zip(arrays, seeds, strict=True)]
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2).to(images)
