"""Restore images of any size with a model, in overlapping tiles where they are large."""

import numpy as np
import torch
from torch import nn

from denoiselab.estimation import estimate_sigma_255

GRID = 64  # pixels: tile corners and overlaps are multiples, so that strided nets see the whole image's grid


def forward(
    model: nn.Module,
    noisy: torch.Tensor,
    sigma_255: float | torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """A batch (N, C, H, W) through the model, told the noise level (one, or (N,)) or the labels (N,) if it takes them.

    None: the model estimates the level itself, or does without the label.
    """
    if getattr(model, "noise_aware", False):
        return model(noisy, sigma_255)
    return model(noisy, labels) if getattr(model, "label_aware", False) else model(noisy)


@torch.inference_mode()
def restore(
    model: nn.Module,
    noisy: np.ndarray,
    *,
    device: torch.device,
    sigma_255: float | torch.Tensor | None = None,
    label: int | None = None,
    tile: int | None = None,
) -> np.ndarray:
    """Restored image (H, W, C) float32, not clipped, of a noisy one of that shape.

    Images with a side above `tile` pixels are cut into tiles that overlap by the model's reach, so that the
    result equals that of the whole image to rounding.
    """
    model.eval()
    planar = torch.from_numpy(np.ascontiguousarray(noisy)).permute(2, 0, 1)[None].to(device)
    reach = getattr(model, "reach", None)
    if tile is None or reach is None or max(planar.shape[-2:]) <= tile:
        restored = forward(model, planar, sigma_255, None if label is None else torch.tensor([label], device=device))
    else:
        if sigma_255 is None and getattr(model, "noise_aware", False):
            sigma_255 = estimate_sigma_255(planar)  # of the whole image, not of each tile
        restored = _tiled(model, planar, sigma_255, tile, reach)
    return restored[0].permute(1, 2, 0).float().cpu().numpy()


def _tiled(
    model: nn.Module, noisy: torch.Tensor, sigma_255: float | torch.Tensor | None, tile: int, reach: int
) -> torch.Tensor:
    halo = -(-reach // GRID) * GRID
    step = max(GRID, tile // GRID * GRID)
    height, width = noisy.shape[-2:]
    restored = torch.empty_like(noisy)
    for y in range(0, height, step):
        for x in range(0, width, step):
            top, left = max(0, y - halo), max(0, x - halo)
            part = noisy[..., top : y + step + halo, left : x + step + halo]
            inner = forward(model, part, sigma_255)[..., y - top : y - top + step, x - left : x - left + step]
            restored[..., y : y + step, x : x + step] = inner
    return restored
