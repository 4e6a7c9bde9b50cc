"""Noise models: pure functions (clean, generator, spec) -> noisy on any device.

`clean` is (N, C, H, W) float in [0, 1]; `noisy` has its shape and is neither clipped nor quantised
unless the spec says so.
"""

from collections.abc import Callable

import torch

from denoiselab.config import Gaussian, NoiseSpec


def gaussian(clean: torch.Tensor, generator: torch.Generator, spec: Gaussian) -> torch.Tensor:
    """clean + N(0, s^2), s = sigma_255 / 255; where sigma_255 is a range, s is drawn for each image of the batch."""
    if isinstance(spec.sigma_255, tuple):
        low, high = spec.sigma_255
        uniform = torch.rand((len(clean), 1, 1, 1), generator=generator, device=clean.device)
        scale: torch.Tensor | float = (low + (high - low) * uniform) / 255
    else:
        scale = spec.sigma_255 / 255
    return clean + scale * torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)


NOISES: dict[str, Callable[[torch.Tensor, torch.Generator, NoiseSpec], torch.Tensor]] = {
    "gaussian": gaussian,
}


def add(clean: torch.Tensor, generator: torch.Generator, spec: NoiseSpec) -> torch.Tensor:
    """Noisy version of `clean`, clipped to [0, 1] if the spec says so."""
    noisy = NOISES[spec.kind](clean, generator, spec)
    return noisy.clamp(0, 1) if spec.clip else noisy


def protocol(spec: NoiseSpec) -> str:
    """Name of the conventions that a score under this noise follows; scores of different protocols do not compare."""
    return "awgn-clipped" if spec.clip else "awgn-unclipped"


def level(spec: NoiseSpec) -> float | None:
    """The noise level in 8-bit units that noise-aware methods are told, None where there is no single one."""
    return None if isinstance(spec.sigma_255, tuple) else spec.sigma_255
