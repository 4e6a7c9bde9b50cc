"""Residual U-Net without normalisation, at half resolution (2x pixel unshuffle).

U-Net of Ronneberger et al. (MICCAI 2015) with the residual blocks, strided and transposed 2x2 convolutions and additive
skips of DRUNet (Zhang et al., TPAMI 2021) at half resolution like FFDNet (Zhang et al., TIP 2018). The last convolution
of each block and of the network is initialised to zero, so that training starts from the identity.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import ImageConv2d, ResidualBlock, U, Widths, on_multiple, reach, zero
from denoiselab.config.base import Block, Channels

UNSHUFFLE = 2


class Config(Block):
    channels: Channels
    widths: Widths  # features at each level, from half resolution down
    blocks: int = Field(ge=1)  # residual blocks per level in the encoder, and in the decoder


class ResUNet(U):
    def __init__(self, config: Config):
        super().__init__()
        widths = config.widths
        planes = config.channels * UNSHUFFLE**2

        def stage(features: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(features) for _ in range(config.blocks)))

        self.head = ImageConv2d(planes, widths[0], 3, padding=1)
        self.down_stages = nn.ModuleList(stage(w) for w in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.bottom = stage(widths[-1])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.up_stages = nn.ModuleList(stage(w) for w in widths[:-1])
        self.tail = ImageConv2d(widths[0], planes, 3, padding=1)
        zero(self.tail)
        self.multiple = UNSHUFFLE * 2 ** (len(widths) - 1)
        sides = 2 * 2 * config.blocks
        self.reach = reach([sides] * (len(widths) - 1) + [sides // 2], UNSHUFFLE) + 2 * UNSHUFFLE

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return noisy + on_multiple(self._residual, noisy, self.multiple)

    def _residual(self, noisy: torch.Tensor) -> torch.Tensor:
        x = self.body(self.head(F.pixel_unshuffle(noisy, UNSHUFFLE)))
        return F.pixel_shuffle(self.tail(x), UNSHUFFLE)


def recognise(tensors: dict[str, torch.Tensor]) -> dict[str, Any] | None:
    """Settings of the network with these tensors, or None."""
    if not {"head.weight", "tail.weight", "bottom.0.first.weight"} <= tensors.keys():
        return None
    strided = [f"downs.{level}.weight" for level in range(len(tensors))]
    return {
        "channels": len(tensors["tail.weight"]) // UNSHUFFLE**2,
        "widths": [len(tensors["head.weight"]), *(len(tensors[name]) for name in strided if name in tensors)],
        "blocks": sum(name.startswith("bottom.") and name.endswith(".first.weight") for name in tensors),
    }


def build(config: Config) -> nn.Module:
    return ResUNet(config)
