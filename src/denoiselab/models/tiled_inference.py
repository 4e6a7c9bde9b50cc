"""Inference for images of any size: large ones are restored in overlapping tiles, with bounded device memory."""

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
from denoiselab.runtime.errors import BusyError

LOWEST_SIGMA_255 = 15.0  # for bfloat16: at lower noise its rounding costs up to 0.07 dB
GRID = 64  # pixels; tile corners and overlaps are multiples, to keep the alignment of strided networks
Progress = Callable[[float], None]


def forward(
    model: nn.Module,
    noisy: torch.Tensor,
    sigma_255: float | torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Run a model on a batch (N, C, H, W), with the noise level (a number or (N,)) or labels (N,) if it takes them.

    None: the model estimates the noise level, or works without labels.
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
    precision: str = "float32",
    progress: Progress | None = None,
) -> np.ndarray:
    """Restore a noisy image (H, W, C) in [0, 1]; returns (H, W, C) float32, not clipped.

    `precision`: float32, or bfloat16 (see devices.precision), which is used for noise of sigma 15 (of 255) or more,
    given or estimated: there the PSNR changes by less than 0.01 dB.

    Images with a side above `tile` pixels are processed in tiles that overlap by the model's receptive field (`reach`):
    the result equals that of the whole image up to rounding, with the memory of a tile. `progress` is called after each
    tile with the share done, from 0 to 1. If memory runs out, the tile size is halved, and all is done again. BusyError
    if even the smallest tiles do not fit.
    """
    model.eval()
    if precision == "bfloat16" and not _noisy_enough(noisy, sigma_255):
        precision = "float32"
    while True:
        try:
            with devices.autocast(device, precision):
                return _restored(model, noisy, device, sigma_255, label, tile, progress)
        except (MemoryError, RuntimeError) as error:
            if not devices.is_out_of_memory(error):
                raise
        tile = _smaller_tile(model, noisy, device, tile)  # outside the handler: the error's frames are freed


def _noisy_enough(noisy: np.ndarray, sigma_255: float | torch.Tensor | None) -> bool:
    level = estimate_sigma_255(planar(noisy)) if sigma_255 is None else sigma_255
    return float(level) >= LOWEST_SIGMA_255


def _smaller_tile(model: nn.Module, noisy: np.ndarray, device: torch.device, tile: int | None) -> int:
    """Half the tile size, with a warning. BusyError if it cannot be reduced."""
    height, width = noisy.shape[:2]
    largest, place = min(tile or max(height, width), max(height, width)), devices.describe(device)
    if getattr(model, "reach", None) is None or largest <= GRID:
        why = f"even in tiles of {GRID} pixels" if largest <= GRID else "which this model cannot tile"
        raise BusyError(f"{place}: out of memory for an image of {width}x{height} pixels, {why}; use a smaller image")
    devices.release(device)
    smaller = max(GRID, largest // 2 // GRID * GRID)
    _warn(f"warning: {place}: out of memory; trying tiles of {smaller} pixels (evaluate.tile, --tile)")
    return smaller


@lru_cache
def _warn(text: str) -> None:
    """Print each warning once."""
    print(text, file=sys.stderr)


def _restored(
    model: nn.Module,
    noisy: np.ndarray,
    device: torch.device,
    sigma_255: float | torch.Tensor | None,
    label: int | None,
    tile: int | None,
    progress: Progress | None,
) -> np.ndarray:
    reach = getattr(model, "reach", None)
    whole = tile is None or reach is None or max(noisy.shape[:2]) <= tile
    if not whole and sigma_255 is None and getattr(model, "noise_aware", False):
        sigma_255 = estimate_sigma_255(planar(noisy))  # of the whole image, not per tile
    labels = None if label is None else torch.tensor([label], device=device)

    def run(part: np.ndarray) -> np.ndarray:
        output = forward(model, planar(part).to(device), sigma_255, labels)
        return output[0].permute(1, 2, 0).float().cpu().numpy()

    return run(noisy) if whole else _tiled(run, noisy, tile, reach, progress)  # type: ignore[arg-type]


def _tiled(
    run: Callable[[np.ndarray], np.ndarray], noisy: np.ndarray, tile: int, reach: int, progress: Progress | None
) -> np.ndarray:
    halo = -(-reach // GRID) * GRID
    step = max(GRID, tile // GRID * GRID)
    result = np.empty(noisy.shape, np.float32)
    corners = [*product(range(0, noisy.shape[0], step), range(0, noisy.shape[1], step))]
    for done, (y, x) in enumerate(corners, start=1):
        top, left = max(0, y - halo), max(0, x - halo)
        part = run(noisy[top : y + step + halo, left : x + step + halo])
        result[y : y + step, x : x + step] = part[y - top :, x - left :][:step, :step]
        if progress:
            progress(done / len(corners))
    return result
