"""Draws of noise levels, one for each image."""

import torch

Level = float | tuple[float, float]


def drawn(value: Level, images: torch.Tensor, generator: torch.Generator, *, log: bool = False) -> torch.Tensor:
    """A constant (), or uniform in a range for each image (N, 1, 1, 1); `log`: uniform logarithm."""
    if not isinstance(value, tuple):
        return torch.full((), value, device=images.device, dtype=images.dtype)
    low, high = value
    chance = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device, dtype=images.dtype)
    return low * (high / low) ** chance if log else low + (high - low) * chance


def normal_like(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal values of the shape of `images`."""
    return torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
