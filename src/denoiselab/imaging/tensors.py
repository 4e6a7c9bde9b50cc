"""Images between NumPy's interleaved (H, W, C) and torch's planar (1, C, H, W) layout."""

import numpy as np
import torch


def planar(image: np.ndarray) -> torch.Tensor:
    """(1, C, H, W) of (H, W, C), of the same values and type; shares the memory where it can."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]


def interleaved(images: torch.Tensor) -> np.ndarray:
    """(H, W, C) of (1, C, H, W), on the CPU and contiguous."""
    return images[0].permute(1, 2, 0).contiguous().cpu().numpy()
