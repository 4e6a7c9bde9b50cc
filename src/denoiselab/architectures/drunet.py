"""DRUNet: bias-free residual U-Net with a noise level map as input.

Zhang, Li, Zuo, Zhang, Van Gool, Timofte: Plug-and-Play Image Restoration with Deep Denoiser Prior. IEEE TPAMI 2021,
section 3 and figure 1. Additive skip connections. Paper: widths 64, 128, 256, 512, 4 blocks.
"""

from functools import partial
from itertools import pairwise

import torch
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import (
    ImageConv2d,
    ResidualBlock,
    Widths,
    noise_level,
    on_multiple,
    reach,
    with_noise_map,
)
from denoiselab.config.base import Block, Channels


class Config(Block):
    channels: Channels
    widths: Widths  # features at each level, from full resolution down
    blocks: int = Field(ge=1)  # residual blocks per level in the encoder, and in the decoder
    noise_map: bool = True  # the noise level is an additional input channel; false: blind


class DRUNet(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        widths = config.widths

        def stage(features: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(features, bias=False) for _ in range(config.blocks)))

        self.noise_aware = config.noise_map
        self.head = ImageConv2d(config.channels + config.noise_map, widths[0], 3, padding=1, bias=False)
        self.downs = nn.ModuleList(
            nn.Sequential(stage(a), nn.Conv2d(a, b, 2, stride=2, bias=False)) for a, b in pairwise(widths)
        )
        self.bottom = stage(widths[-1])
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False), stage(a)) for a, b in pairwise(widths)
        )
        self.tail = ImageConv2d(widths[0], config.channels, 3, padding=1, bias=False)
        self.multiple = 2 ** (len(widths) - 1)
        sides = 2 * 2 * config.blocks
        self.reach = reach([sides] * (len(widths) - 1) + [sides // 2]) + 2

    def forward(self, noisy: torch.Tensor, sigma_255: float | torch.Tensor | None = None) -> torch.Tensor:
        """sigma_255: noise level, a number or (N,); None: estimated for each image."""
        level = noise_level(noisy, sigma_255) if self.noise_aware else None
        return on_multiple(partial(self._restored, level=level), noisy, self.multiple)

    def _restored(self, noisy: torch.Tensor, level: torch.Tensor | None) -> torch.Tensor:
        x = self.head(noisy if level is None else with_noise_map(noisy, level))
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        x = x + self.bottom(x)
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            x = skip + up(x)
        return self.tail(x)


def build(config: Config) -> nn.Module:
    return DRUNet(config)
