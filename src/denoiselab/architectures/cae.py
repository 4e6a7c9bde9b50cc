"""Convolutional autoencoder without skip connections.

From a public comparison of CNN, autoencoder and U-Net on STL-10 (widths 16, 32, 64: 1/8 of the resolution).
"""

from itertools import pairwise

import torch
from torch import nn

from denoiselab.architectures._layers import ImageConvTranspose2d, Widths, activated, convolution, on_multiple, reach
from denoiselab.config.base import Block, Channels


class Config(Block):
    channels: Channels
    widths: Widths  # features at each level, from half resolution down
    batch_norm: bool  # after every convolution except the last, which alone then has a bias
    sigmoid: bool = True  # applied to the output


class CAE(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        norm, widths = config.batch_norm, config.widths

        def up(inputs: int, outputs: int, bias: bool, kind: type[nn.Module] = nn.ConvTranspose2d) -> nn.Module:
            return kind(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=bias)

        layers: list[nn.Module] = []
        for n, (inputs, outputs) in enumerate(pairwise([config.channels, *widths])):
            layers += convolution(inputs, outputs, batch_norm=norm, stride=2, of_image=not n)
            layers += convolution(outputs, outputs, batch_norm=norm)
        for inputs, outputs in pairwise(reversed(widths)):
            layers += [up(inputs, outputs, bias=not norm), *activated(outputs, batch_norm=norm)]
            layers += convolution(outputs, outputs, batch_norm=norm)
        layers.append(up(widths[0], config.channels, bias=True, kind=ImageConvTranspose2d))
        self.layers = nn.Sequential(*layers, *([nn.Sigmoid()] if config.sigmoid else []))
        self.multiple = 2 ** len(widths)
        # strided and transposed convolutions reach one cell of their finer level
        self.reach = reach([2] + [4] * (len(widths) - 1) + [1])

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return on_multiple(self.layers, noisy, self.multiple)


def build(config: Config) -> nn.Module:
    return CAE(config)
