"""FFDNet: stack of convolutions at half resolution with a noise level map as input.

Zhang, Zuo, Zhang: FFDNet: Toward a Fast and Flexible Solution for CNN-Based Image Denoising. IEEE TIP 2018. It predicts
the clean image; `residual` is our addition. Paper: colour 12 convolutions of 96 features, gray 15 of 64.
"""

import re
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import ImageConv2d, convolution, noise_level, on_multiple, with_noise_map, zero
from denoiselab.config.base import Block, Channels

UNSHUFFLE = 2


class Config(Block):
    channels: Channels
    depth: int = Field(ge=2)  # number of convolutions
    features: int = Field(ge=1)
    batch_norm: bool  # after the inner convolutions, which then have no bias
    residual: bool = False  # predict the residual, with the last convolution initialised to zero: trains faster


class FFDNet(nn.Module):
    noise_aware = True

    def __init__(self, config: Config):
        super().__init__()
        features, planes = config.features, config.channels * UNSHUFFLE**2
        layers = convolution(planes + 1, features, batch_norm=False, of_image=True)
        for _ in range(config.depth - 2):
            layers += convolution(features, features, batch_norm=config.batch_norm)
        self.layers = nn.Sequential(*layers, ImageConv2d(features, planes, 3, padding=1))
        self.residual = config.residual
        if config.residual:
            zero(self.layers[-1])
        self.reach = UNSHUFFLE * config.depth + UNSHUFFLE - 1

    def forward(self, noisy: torch.Tensor, sigma_255: float | torch.Tensor | None = None) -> torch.Tensor:
        """sigma_255: noise level, a number or (N,); None: estimated for each image."""
        level = noise_level(noisy, sigma_255)
        output = on_multiple(partial(self._restored, level=level), noisy, UNSHUFFLE)
        return noisy + output if self.residual else output

    def _restored(self, noisy: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        planes = with_noise_map(F.pixel_unshuffle(noisy, UNSHUFFLE), level)
        return F.pixel_shuffle(self.layers(planes), UNSHUFFLE)


def from_foreign(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert KAIR's layout, `N.*`: the same layers in the same order."""
    return {re.sub(r"^(?=\d)", "layers.", name): tensor for name, tensor in tensors.items()}


def recognise(tensors: dict[str, torch.Tensor]) -> dict[str, Any] | None:
    """Settings of the network with these tensors, in our layout, or None; `residual` cannot be told."""
    convolutions = [tensor for name, tensor in tensors.items() if name.startswith("layers.") and tensor.ndim == 4]
    if len(convolutions) < 2:
        return None
    features, planes = convolutions[0].shape[:2]
    return {
        "channels": (planes - 1) // UNSHUFFLE**2,
        "depth": len(convolutions),
        "features": features,
        "batch_norm": any(name.endswith("running_mean") for name in tensors),
    }


def build(config: Config) -> nn.Module:
    return FFDNet(config)
