"""Convert images between NumPy's (H, W, C) and torch's (1, C, H, W) layout."""

import numpy as np
import torch


def planar(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) to (1, C, H, W), same type; shares memory if possible."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]


def interleaved(images: torch.Tensor) -> np.ndarray:
    """(1, C, H, W) to (H, W, C), contiguous, on the CPU."""
    return images[0].permute(1, 2, 0).contiguous().cpu().numpy()
