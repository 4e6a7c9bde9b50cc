"""Sensor noise in linear light: variance a x + b of the signal x, black 0, white 1 (a: shot noise, b: read noise).

The noise is Gaussian (Foi et al.: Practical Poissonian-Gaussian Noise Modeling. IEEE TIP 2008).
"""

import torch

from denoiselab.config.camera_noise import Camera, OfCamera
from denoiselab.noise import cameras
from denoiselab.noise.levels import drawn, normal_like

GREEN = slice(1, 2)


def camera(clean: torch.Tensor, generator: torch.Generator, spec: Camera) -> torch.Tensor:
    """Sensor noise added in linear light, by channel (gray: that of green). UserError for an unknown camera or ISO."""
    if spec.camera:
        a, b = (values if clean.shape[1] == 3 else values[:, GREEN] for values in of_table(clean, generator, spec))
    else:
        assert spec.gain is not None and spec.read_noise is not None
        a = 1 / (255 * drawn(spec.gain, clean, generator))
        b = (a * drawn(spec.read_noise, clean, generator)).square()
    return encode(noisy(decode(clean.clamp(0, 1)), a, b, generator))


def noisy(signal: torch.Tensor, a: torch.Tensor, b: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """signal + N(0, a signal + b), without noise where that is negative."""
    return signal + (a * signal + b).clamp(min=0).sqrt() * normal_like(signal, generator)


def of_table(images: torch.Tensor, generator: torch.Generator, spec: OfCamera) -> tuple[torch.Tensor, torch.Tensor]:
    """a and b, (1 or N, 3, 1, 1), of the camera's channels at its ISO, interpolated between its profiles.

    UserError for an unknown camera or ISO.
    """
    assert spec.camera and spec.iso
    profile = cameras.named(spec.camera)
    cameras.check(profile, *(spec.iso if isinstance(spec.iso, tuple) else (spec.iso, spec.iso)))
    iso = drawn(spec.iso, images, generator, log=True).reshape(-1)
    known, a, b = (torch.from_numpy(values).to(images) for values in (profile.iso, profile.a, profile.b))
    above = torch.searchsorted(known, iso).clamp(1, len(known) - 1)
    weight = ((iso - known[above - 1]) / (known[above] - known[above - 1]))[:, None]
    a, b = (torch.lerp(values[above - 1], values[above], weight)[:, :, None, None] for values in (a, b))
    return a, b


def decode(values: torch.Tensor) -> torch.Tensor:
    """sRGB's values to linear light (IEC 61966-2-1)."""
    return torch.where(values <= 0.04045, values / 12.92, ((values.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def encode(light: torch.Tensor) -> torch.Tensor:
    """Linear light to sRGB's values: the inverse of `decode`, also beyond black and white."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
