"""Invention test: images without content in, structure out. What a denoiser shows there, it has invented.

The deviation from the flat field is measured for pixels, and for means of CELL x CELL pixels: blotches. Averaging adds
none to those of its input; more than those are invention.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import nn

from denoiselab.config.noise import NoiseSpec, Real
from denoiselab.config.noise_presets import of_kind
from denoiselab.models import tiled_inference
from denoiselab.noise import synthesis
from denoiselab.runtime import seeding

SIDE, CELL = 128, 8  # pixels
FIELDS = ((0.5, 0.5, 0.5), (0.1, 0.1, 0.1), (0.85, 0.85, 0.85), (0.7, 0.3, 0.3), (0.25, 0.45, 0.3), (0.35, 0.55, 0.8))
DRAWS = 4  # of the noise on every field
TOLERANCE, TOLERANCE_255 = 1.1, 0.25  # of what counts as invented: relative to the input's blotches, and of 255
AMPLIFIED = 4  # contrast in the figure
SHOWN = 96  # side in the figure, in pixels


@dataclass(frozen=True)
class Case:
    """RMS deviations from the flat fields, of 255, of a kind of input and of the outputs."""

    name: str
    noise_255: float  # in the input
    left_255: float  # in the output
    blotches_255: float  # in the input, of means of CELL x CELL pixels
    shown_255: float  # in the output, of means of CELL x CELL pixels
    figure: np.ndarray  # (SHOWN, 2 SHOWN, 3) uint8: deviation of an input and its output, amplified, around gray

    @property
    def invents(self) -> bool:
        """Whether the output has more blotches than the input."""
        return self.shown_255 > TOLERANCE * self.blotches_255 + TOLERANCE_255


def examine(model: nn.Module, channels: int, trained: dict[str, Any]) -> list[Case]:
    """Flat fields; with noise as in training; and noise alone, independent values uniform in [0, 1].

    `trained`: the spec of that noise; for real noise, that of camera JPEGs. All models see the same draws, on the CPU.
    """
    fields = torch.tensor(FIELDS).mean(dim=1, keepdim=True) if channels == 1 else torch.tensor(FIELDS)
    flat = fields[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()
    many = flat.repeat(DRAWS, 1, 1, 1)
    spec = TypeAdapter[NoiseSpec](NoiseSpec).validate_python(trained)
    name = "the noise of its training"
    if isinstance(spec, Real):
        spec, name = of_kind("camera_jpeg"), "the noise of a camera's JPEG"
    noisy = synthesis.add(many, seeding.generator("invention", "trained"), spec)
    alone = torch.rand(many.shape, generator=seeding.generator("invention", "alone"))
    return [
        _case(model, "flat", flat, flat),
        _case(model, f"flat, with {name}", many, noisy),
        _case(model, "noise alone, uniform", torch.full_like(many, 0.5), alone),
    ]


@torch.inference_mode()
def _case(model: nn.Module, name: str, truth: torch.Tensor, images: torch.Tensor) -> Case:
    outputs = torch.cat([tiled_inference.forward(model.eval(), one[None]) for one in images]).clamp(0, 1)
    before, after = 255 * (images - truth), 255 * (outputs - truth)
    figure = torch.cat([_shown(before[0]), _shown(after[0])], dim=1)
    return Case(name, _rms(before), _rms(after), _rms(_cells(before)), _rms(_cells(after)), figure.numpy())


def _cells(deviations: torch.Tensor) -> torch.Tensor:
    """Means of the cells, less those of the whole field."""
    return F.avg_pool2d(deviations - deviations.mean(dim=(2, 3), keepdim=True), CELL)


def _rms(values: torch.Tensor) -> float:
    return values.double().square().mean().sqrt().item()


def _shown(deviation: torch.Tensor) -> torch.Tensor:
    """(C, H, W), of 255, to (SHOWN, SHOWN, 3) uint8."""
    start = (SIDE - SHOWN) // 2
    part = deviation[:, start : start + SHOWN, start : start + SHOWN].expand(3, -1, -1)
    return (127.5 + AMPLIFIED * part).round().clamp(0, 255).byte().permute(1, 2, 0)
