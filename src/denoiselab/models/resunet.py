"""A residual U-Net without normalisation behind a 2x pixel unshuffle.

The U of Ronneberger et al. (MICCAI 2015) with the residual blocks, strided and transposed 2x2
convolutions and additive skips of DRUNet (Zhang et al., TPAMI 2021), working at half resolution as
FFDNet does (Zhang et al., TIP 2018). Each block's and the net's last convolution start at zero, so that
training starts from the identity.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from denoiselab.config.block import Block, Channels

UNSHUFFLE = 2


class Config(Block):
    channels: Channels
    widths: list[int] = Field(min_length=1)  # features a level, from half resolution down
    blocks: int = Field(ge=1)  # residual blocks a level, on each side


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, features: int):
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.last = nn.Conv2d(features, features, 3, padding=1)
        _zero(self.first)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        _zero(self.last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.last(F.relu(self.first(x)))


class ResUNet(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        widths = config.widths
        planes = config.channels * UNSHUFFLE**2

        def stage(features: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(features) for _ in range(config.blocks)))

        self.head = nn.Conv2d(planes, widths[0], 3, padding=1)
        self.down_stages = nn.ModuleList(stage(w) for w in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.bottom = stage(widths[-1])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.up_stages = nn.ModuleList(stage(w) for w in widths[:-1])
        self.tail = nn.Conv2d(widths[0], planes, 3, padding=1)
        _zero(self.tail)
        self.multiple = UNSHUFFLE * 2 ** (len(widths) - 1)
        self.reach = _reach(len(widths), config.blocks)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        height, width = noisy.shape[-2:]
        padded = F.pad(noisy, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        x = self.head(F.pixel_unshuffle(padded, UNSHUFFLE))
        skips = []
        for stage, down in zip(self.down_stages, self.downs, strict=True):
            x = stage(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for stage, up, skip in zip(reversed(self.up_stages), reversed(self.ups), reversed(skips), strict=True):
            x = stage(up(x) + skip)
        residual = F.pixel_shuffle(self.tail(x), UNSHUFFLE)
        return noisy + residual[..., :height, :width]


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _reach(levels: int, blocks: int) -> int:
    """Pixels: two 3x3 convolutions a block on each side of every level, head and tail, and a cell of each stride."""
    scales = [UNSHUFFLE * 2**level for level in range(levels)]
    sides = [2] * (levels - 1) + [1]
    inner = sum(2 * blocks * side * scale for side, scale in zip(sides, scales, strict=True))
    return inner + 2 * scales[0] + 2 * scales[-1]


def build(config: Config) -> nn.Module:
    return ResUNet(config)
