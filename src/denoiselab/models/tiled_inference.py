"""Restore images of any size with a model, in overlapping tiles where they are large: those alone go to the device."""

import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import nn

from denoiselab.imaging.tensors import planar
from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.runtime import devices
from denoiselab.runtime.errors import UserError

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
    result equals that of the whole image to rounding; beside the result, they take the memory of a tile. Where that
    runs out, tiles of half the side are tried. ValueError where even the smallest take more than there is.
    """
    model.eval()
    while True:
        try:
            return _restored(model, noisy, device, sigma_255, label, tile)
        except (MemoryError, RuntimeError) as error:
            if not devices.ran_out(error):
                raise
        tile = _smaller(model, noisy, device, tile)  # here, where what the error's frames held is free again


def _smaller(model: nn.Module, noisy: np.ndarray, device: torch.device, tile: int | None) -> int:
    """Half the side of the tiles that took too much. ValueError where there are no smaller ones."""
    height, width = noisy.shape[:2]
    largest, place = min(tile or max(height, width), max(height, width)), devices.describe(device)
    if getattr(model, "reach", None) is None or largest <= GRID:
        why = f"even in tiles of {GRID} pixels" if largest <= GRID else "which this model takes whole"
        raise UserError(f"{place}: out of memory for a picture of {width}x{height} pixels, {why}; reduce the picture")
    devices.release(device)
    smaller = max(GRID, largest // 2 // GRID * GRID)
    _warn(f"warning: {place}: out of memory; tiles of {smaller} pixels (evaluate.tile, --tile) are tried")
    return smaller


@lru_cache
def _warn(text: str) -> None:
    """Once."""
    print(text, file=sys.stderr)


def _restored(
    model: nn.Module,
    noisy: np.ndarray,
    device: torch.device,
    sigma_255: float | torch.Tensor | None,
    label: int | None,
    tile: int | None,
) -> np.ndarray:
    reach = getattr(model, "reach", None)
    whole = tile is None or reach is None or max(noisy.shape[:2]) <= tile
    if not whole and sigma_255 is None and getattr(model, "noise_aware", False):
        sigma_255 = estimate_sigma_255(planar(noisy))  # of the whole image, not of each tile
    labels = None if label is None else torch.tensor([label], device=device)

    def restored(part: np.ndarray) -> np.ndarray:
        output = forward(model, planar(part).to(device), sigma_255, labels)
        return output[0].permute(1, 2, 0).float().cpu().numpy()

    return restored(noisy) if whole else _tiled(restored, noisy, tile, reach)  # type: ignore[arg-type]


def _tiled(restored: Callable[[np.ndarray], np.ndarray], noisy: np.ndarray, tile: int, reach: int) -> np.ndarray:
    halo = -(-reach // GRID) * GRID
    step = max(GRID, tile // GRID * GRID)
    result = np.empty(noisy.shape, np.float32)
    for y, x in product(range(0, noisy.shape[0], step), range(0, noisy.shape[1], step)):
        top, left = max(0, y - halo), max(0, x - halo)
        part = restored(noisy[top : y + step + halo, left : x + step + halo])
        result[y : y + step, x : x + step] = part[y - top :, x - left :][:step, :step]
    return result
