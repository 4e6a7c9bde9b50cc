"""Plain stack of 3x3 convolutions that predicts the clean image directly.

Baseline of a public comparison of CNN, autoencoder and U-Net on STL-10 (widths 32, 64, 128, 64, 32).
"""

from itertools import pairwise

import torch
from torch import nn

from denoiselab.architectures._layers import ImageConv2d, Widths, convolution
from denoiselab.config.base import Block, Channels


class Config(Block):
    channels: Channels
    widths: Widths  # features of all convolutions except the last
    batch_norm: bool  # after every convolution except the last; then no convolution has a bias
    sigmoid: bool = True  # applied to the output


class CNN(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        layers: list[nn.Module] = []
        for n, (inputs, outputs) in enumerate(pairwise([config.channels, *config.widths])):
            layers += convolution(inputs, outputs, batch_norm=config.batch_norm, of_image=not n)
        layers.append(ImageConv2d(config.widths[-1], config.channels, 3, padding=1, bias=not config.batch_norm))
        self.layers = nn.Sequential(*layers, *([nn.Sigmoid()] if config.sigmoid else []))
        self.reach = len(config.widths) + 1

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return self.layers(noisy)


def build(config: Config) -> nn.Module:
    return CNN(config)
