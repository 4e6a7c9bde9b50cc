"""What noise a picture has, told from the picture itself, and which released weights are for that."""

from dataclasses import dataclass

import numpy as np

CLEAN = 1.0  # sigma_255 below which there is nothing to gain


@dataclass(frozen=True)
class Estimate:
    """The noise of a picture."""

    sigma_255: float
    kind: str  # gaussian
    reason: str  # in a few words


def estimate(pixels: np.ndarray) -> Estimate:
    """Of (H, W, C) float32 in [0, 1]."""
    import torch

    from denoiselab.estimation import estimate_sigma_255

    planar = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    sigma_255 = estimate_sigma_255(planar).item()
    return Estimate(sigma_255, "gaussian", f"noise level {sigma_255:.1f} of 255")


def choose(estimate: Estimate, channels: int) -> tuple[str, str]:
    """The name of released weights for a picture of so many channels, and why."""
    name = "gray" if channels == 1 else "colour"
    return name, estimate.reason
