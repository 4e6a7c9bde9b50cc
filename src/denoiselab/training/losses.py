"""Training losses: (restored, clean) -> scalar, both (N, C, H, W) float32."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from denoiselab.metrics import batched
from denoiselab.runtime import distributed

CHARBONNIER_EPSILON = 1e-3

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def charbonnier(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """mean sqrt(d^2 + eps^2), a smooth L1 (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt((restored - clean).square() + CHARBONNIER_EPSILON**2).mean()


def ssim(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """1 - SSIM, data range 1 (Zhao et al., IEEE TCI 2017)."""
    return 1 - batched.ssim(clean, restored).mean().float()


class Perceptual(nn.Module):
    """Perceptual loss: mean squared distance of feature maps (Johnson et al., ECCV 2016, equation 2).

    `features.features(x)` gives a list of feature maps (N, C, H, W); the network is frozen. Each map's distance is
    divided by the mean square of the clean image's map, so that all layers have the same weight in any network.
    """

    def __init__(self, features: nn.Module):
        super().__init__()
        self.net = features.eval().requires_grad_(False)

    def forward(self, restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = self.net.features(clean)  # type: ignore[operator]
        distances = [
            F.mse_loss(found, target) / distributed.mean(target.square().mean(), len(target)).clamp(min=1e-8)
            for found, target in zip(self.net.features(restored), wanted, strict=True)  # type: ignore[operator]
        ]
        return torch.stack(distances).mean()


LOSSES: dict[str, Loss] = {"mse": F.mse_loss, "l1": F.l1_loss, "charbonnier": charbonnier, "ssim": ssim}


def build(weights: Mapping[Any, float], features: nn.Module | None = None) -> Loss:
    """Weighted sum of the named losses; `features` is the network of the perceptual loss."""
    terms = [(weight, _named(name, features)) for name, weight in weights.items()]

    def total(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        return torch.stack([weight * loss(restored, clean) for weight, loss in terms]).sum()

    return total


def _named(name: str, features: nn.Module | None) -> Loss:
    if name == "perceptual":
        assert features is not None
        return Perceptual(features)
    return LOSSES[name]
