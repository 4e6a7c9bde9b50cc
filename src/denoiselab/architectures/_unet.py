"""The U-Net of unet_classic.py and guided_unet.py."""

from itertools import pairwise

import torch
from pydantic import model_validator
from torch import nn

from denoiselab.architectures._layers import ImageConv2d, U, Widths, on_multiple, reach, two_convolutions
from denoiselab.config.base import Block, Channels
from denoiselab.runtime.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # red, green, blue in [0, 1]
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Config(Block):
    channels: Channels
    widths: Widths  # features at each level, from full resolution down
    batch_norm: bool  # after every 3x3 convolution, which then has no bias
    sigmoid: bool = False  # applied to the output
    head_bias: bool = True  # of the final 1x1 convolution
    normalise: bool = False  # standardise the input by ImageNet's mean and deviation, and invert it at the output

    @model_validator(mode="after")
    def _one_range(self) -> "Config":
        if self.sigmoid and self.normalise:
            raise UserError("sigmoid and normalise exclude each other")
        return self


class UNet(U):
    concatenates = True
    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, config: Config, guide_features: int = 0):
        super().__init__()
        widths, norm = config.widths, config.batch_norm
        inputs = [config.channels, *widths]
        joined = [2 * width for width in widths[:-1]]
        if guide_features:
            joined[-1] += guide_features
        self.down_stages = nn.ModuleList(
            two_convolutions(a, b, batch_norm=norm, of_image=not n) for n, (a, b) in enumerate(pairwise(inputs[:-1]))
        )
        self.downs = nn.ModuleList(nn.MaxPool2d(2) for _ in widths[1:])
        self.bottom = two_convolutions(*inputs[-2:], batch_norm=norm)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.up_stages = nn.ModuleList(
            two_convolutions(a, b, batch_norm=norm) for a, b in zip(joined, widths[:-1], strict=True)
        )
        self.head = ImageConv2d(widths[0], config.channels, 1, bias=config.head_bias)
        self.sigmoid = config.sigmoid
        mean, deviation = _statistics(config)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)
        self.multiple = 2 ** (len(widths) - 1)
        self.reach: int | None = reach([4] * (len(widths) - 1) + [2])

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return on_multiple(self.restored, noisy, self.multiple)

    def restored(self, noisy: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """As forward, for sides that are multiples of `multiple`."""
        y = self.head(self.body((noisy - self.mean) / self.deviation, guide)) * self.deviation + self.mean
        return torch.sigmoid(y) if self.sigmoid else y


def _statistics(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (1, C, 1, 1): ImageNet's (averaged for one channel), or 0 and 1."""
    both = torch.tensor([IMAGENET_MEAN, IMAGENET_DEVIATION] if config.normalise else [[0.0] * 3, [1.0] * 3])
    if config.channels == 1:
        both = both.mean(1, keepdim=True)
    mean, deviation = both.reshape(2, 1, config.channels, 1, 1)
    return mean, deviation
