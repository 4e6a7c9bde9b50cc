"""U-Net with sub-pixel convolutions in the decoder and dropout after each pooling.

U-Net of Ronneberger et al. (MICCAI 2015), upsampling of Shi et al. (CVPR 2016: convolution to four times the features,
then pixel shuffle); from a public project on faces of 512x512 pixels (widths 16, 32, 64, 128, 256, 512).
"""

from itertools import pairwise

import torch
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import (
    ImageConv2d,
    U,
    Widths,
    convolution,
    initialise,
    on_multiple,
    reach,
    two_convolutions,
)
from denoiselab.config.base import Block, Channels


class Config(Block):
    channels: Channels
    widths: Widths  # features at each level, from full resolution down
    dropout: float = Field(default=0.1, ge=0, lt=1)  # probability, after each pooling
    sigmoid: bool = True  # applied to the output


class PixelShuffleUNet(U):
    concatenates = True

    def __init__(self, config: Config):
        super().__init__()
        widths = config.widths
        inputs = [config.channels, *widths]
        self.down_stages = nn.ModuleList(
            two_convolutions(a, b, batch_norm=False, of_image=not n) for n, (a, b) in enumerate(pairwise(inputs[:-1]))
        )
        self.downs = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), nn.Dropout(config.dropout)) for _ in widths[1:])
        self.bottom = two_convolutions(*inputs[-2:], batch_norm=False)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, 4 * a, 3, padding=1), nn.PixelShuffle(2)) for a, b in pairwise(widths)
        )
        self.up_stages = nn.ModuleList(two_convolutions(2 * a, a, batch_norm=False) for a in widths[:-1])
        if len(widths) > 1:  # a single convolution at full resolution
            self.up_stages[0] = nn.Sequential(*convolution(2 * widths[0], widths[0], batch_norm=False))
        self.head = ImageConv2d(widths[0], config.channels, 1)
        self.sigmoid = config.sigmoid
        self.multiple = 2 ** (len(widths) - 1)
        self.reach = reach([4] + [5] * (len(widths) - 2) + [3])
        initialise(self, "kaiming_normal")

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return on_multiple(self._restored, noisy, self.multiple)

    def _restored(self, noisy: torch.Tensor) -> torch.Tensor:
        y = self.head(self.body(noisy))
        return torch.sigmoid(y) if self.sigmoid else y


def build(config: Config) -> nn.Module:
    return PixelShuffleUNet(config)
