"""Classifier for noisy images: stages of two 3x3 convolutions and max pooling, then a linear layer.

From a public comparison on STL-10 (widths 64, 128, 256, 96x96 pixels, 12x12 cells), where its scores guide a U-Net.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import Widths, padded, two_convolutions
from denoiselab.config.base import Block, Channels


class Config(Block):
    channels: Channels
    classes: int = Field(ge=2)
    widths: Widths  # features at each stage; each halves the resolution
    batch_norm: bool  # after every convolution, which then has no bias
    side: int = Field(default=12, ge=1)  # the last feature maps are pooled to side x side


class ClassifierCNN(nn.Module):
    task = "classify"

    def __init__(self, config: Config):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(two_convolutions(a, b, batch_norm=config.batch_norm), nn.MaxPool2d(2))
            for a, b in pairwise([config.channels, *config.widths])
        )
        self.classes, self.side = config.classes, config.side
        self.multiple = 2 ** len(config.widths)
        self.head = nn.Linear(config.widths[-1] * config.side**2, config.classes)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of each stage, for images (N, C, H, W) of any size."""
        maps = [padded(x, self.multiple)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes)."""
        last = self.features(x)[-1]
        if not (self.training and last.shape[-2:] == (self.side, self.side)):  # not deterministic on CUDA
            last = F.adaptive_avg_pool2d(last, self.side)
        return self.head(last.flatten(1))


def build(config: Config) -> nn.Module:
    return ClassifierCNN(config)
