"""Training losses: (restored, clean) -> scalar, both (N, C, H, W) float32."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

CHARBONNIER_EPSILON = 1e-3


def charbonnier(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """mean sqrt(d^2 + eps^2), a smooth L1 (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt((restored - clean).square() + CHARBONNIER_EPSILON**2).mean()


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
}
