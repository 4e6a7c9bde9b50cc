"""Classifier for noisy images: a small ResNet with global average pooling.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, with two basic blocks at each stage and
the changes of a public comparison on STL-10: widths 16, 32, 64, 128, a first convolution that keeps the number of
channels, strides in both blocks of the first stage only.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import BATCH_NORM_MOMENTUM, Widths
from denoiselab.config.base import Block, Channels


class Config(Block):
    channels: Channels
    classes: int = Field(ge=2)
    widths: Widths  # features at each stage
    batch_norm: bool  # convolutions then have no bias
    second_norm: bool = True  # BatchNorm also after the second convolution of a block; false: as published


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, config: Config):
        super().__init__()
        bias = not config.batch_norm
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
        self.first_norm = _norm(outputs, config.batch_norm)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.second_norm = _norm(outputs, config.batch_norm and config.second_norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            # Subsampling before the convolution instead of a stride: oneDNN's gradient of a strided 1x1 convolution of
            # few channels is wrong on several threads and overruns its buffer on one (oneDNN issue 6035, torch 2.13).
            projection = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(projection, _norm(outputs, config.batch_norm))
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x[..., :: self.stride, :: self.stride]))


class ClassifierResNet(nn.Module):
    task = "classify"

    def __init__(self, config: Config):
        super().__init__()
        channels = config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(channels, channels, 7, 2, padding=3, bias=not config.batch_norm),
            _norm(channels, config.batch_norm),
            nn.MaxPool2d(3, 2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList()
        for inputs, outputs in pairwise([channels, *config.widths]):
            stride = 1 if self.stages else 2
            first = BasicBlock(inputs, outputs, stride, config)
            self.stages.append(nn.Sequential(first, BasicBlock(outputs, outputs, stride, config)))
        self.classes = config.classes
        self.head = nn.Linear(config.widths[-1], config.classes)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of each stage, for images (N, C, H, W) of any size."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes)."""
        return self.head(self.features(x)[-1].mean((2, 3)))


def _norm(features: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(features, momentum=BATCH_NORM_MOMENTUM) if batch_norm else nn.Identity()


def build(config: Config) -> nn.Module:
    return ClassifierResNet(config)
