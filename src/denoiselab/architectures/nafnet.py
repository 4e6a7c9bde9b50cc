"""NAFNet: U-Net of blocks without nonlinear activations, which are replaced by products of features.

Chen, Chu, Zhang, Sun: Simple Baselines for Image Restoration. ECCV 2022, figures 2 and 3. Paper (SIDD): width 32,
encoder 2, 2, 4, 8, middle 12, decoder 2, 2, 2, 2.
"""

import re
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, model_validator
from torch import nn

from denoiselab.architectures._layers import ImageConv2d, U, on_multiple
from denoiselab.config.base import Block, Channels
from denoiselab.runtime.errors import UserError

STAGES = {  # the authors' names, and ours
    "intro": "head",
    "encoders": "down_stages",
    "middle_blks": "bottom",
    "decoders": "up_stages",
    "ending": "tail",
}
LAYERS = {
    "norm1": "spatial.0",
    "conv1": "spatial.1",
    "conv2": "spatial.2",
    "sca.1": "spatial.4.weigh",
    "conv3": "spatial.5",
    "norm2": "pointwise.0",
    "conv4": "pointwise.1",
    "conv5": "pointwise.3",
}


class Config(Block):
    channels: Channels
    width: int = Field(ge=1)  # features at full resolution; doubled at each level
    encoder: list[NonNegativeInt] = Field(min_length=1)  # blocks at each level, the finest first
    middle: int = Field(ge=0)  # blocks at the bottom
    decoder: list[NonNegativeInt]  # blocks at each level, the coarsest first

    @model_validator(mode="after")
    def _as_many_levels(self) -> "Config":
        if len(self.encoder) != len(self.decoder):
            raise UserError("encoder and decoder must have the same number of levels")
        return self


class LayerNorm(nn.Module):
    """Layer normalisation over the features of each pixel."""

    def __init__(self, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = x.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.weight.shape, self.weight, self.bias, eps=1e-6).permute(0, 3, 1, 2)


class Gate(nn.Module):
    """Product of the two halves of the features (SimpleGate)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second


class ChannelAttention(nn.Module):
    """Features scaled by a linear function of their spatial means (simplified channel attention)."""

    def __init__(self, features: int):
        super().__init__()
        self.weigh = nn.Conv2d(features, features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weigh(x.mean((2, 3), keepdim=True))


class NAFBlock(nn.Module):
    """Gated depthwise convolution with attention, then a gated pointwise layer; both residual, with learned scales."""

    def __init__(self, features: int):
        super().__init__()
        self.spatial = nn.Sequential(
            LayerNorm(features),
            nn.Conv2d(features, 2 * features, 1),
            nn.Conv2d(2 * features, 2 * features, 3, padding=1, groups=2 * features),
            Gate(),
            ChannelAttention(features),
            nn.Conv2d(features, features, 1),
        )
        self.pointwise = nn.Sequential(
            LayerNorm(features), nn.Conv2d(features, 2 * features, 1), Gate(), nn.Conv2d(features, features, 1)
        )
        self.beta = nn.Parameter(torch.zeros(features, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(features, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.beta * self.spatial(x)
        return x + self.gamma * self.pointwise(x)


class NAFNet(U):
    reach = None  # channel attention depends on the whole image

    def __init__(self, config: Config):
        super().__init__()
        levels = len(config.encoder)
        *widths, coarsest = (config.width * 2**level for level in range(levels + 1))

        def stage(features: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*(NAFBlock(features) for _ in range(blocks)))

        self.head = ImageConv2d(config.channels, config.width, 3, padding=1)
        self.down_stages = nn.ModuleList(stage(w, n) for w, n in zip(widths, config.encoder, strict=True))
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths)
        self.bottom = stage(coarsest, config.middle)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * w, 4 * w, 1, bias=False), nn.PixelShuffle(2)) for w in widths
        )
        self.up_stages = nn.ModuleList(stage(w, n) for w, n in zip(widths, reversed(config.decoder), strict=True))
        self.tail = ImageConv2d(config.width, config.channels, 3, padding=1)
        self.multiple = 2**levels

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return noisy + on_multiple(self._residual, noisy, self.multiple)

    def _residual(self, noisy: torch.Tensor) -> torch.Tensor:
        return self.tail(self.body(self.head(noisy)))


def from_foreign(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert the authors' layout (megvii-research/NAFNet), whose decoder counts from the coarsest level.

    At sides that are no multiple of 2^levels the authors pad with zeros, we repeat the border.
    """
    if "intro.weight" not in tensors:
        return tensors
    numbered = re.compile(r"^(ups|decoders)\.(\d{1,4})\.")
    coarsest = max((int(found[2]) for name in tensors if (found := numbered.match(name))), default=0)
    renamed = {}
    for name, tensor in tensors.items():
        new = numbered.sub(lambda found: f"{found[1]}.{coarsest - int(found[2])}.", name)
        new = re.sub(r"^\w+", lambda found: STAGES.get(found[0], found[0]), new)
        new = re.sub(r"\b(norm[12]|conv[1-5]|sca\.1)\.", lambda found: f"{LAYERS[found[1]]}.", new)
        renamed[new] = tensor.reshape(-1, 1, 1) if new.endswith((".beta", ".gamma")) else tensor
    return renamed


def recognise(tensors: dict[str, torch.Tensor]) -> dict[str, Any] | None:
    """Settings of the network with these tensors, in our layout, or None."""
    if not {"head.weight", "downs.0.weight"} <= tensors.keys():
        return None
    width, channels = tensors["head.weight"].shape[:2]
    levels = sum(bool(re.fullmatch(r"downs\.\d+\.weight", name)) for name in tensors)

    def blocks(stage: str) -> int:
        return sum(name.startswith(f"{stage}.") and name.endswith(".beta") for name in tensors)

    return {
        "channels": channels,
        "width": width,
        "encoder": [blocks(f"down_stages.{level}") for level in range(levels)],
        "middle": blocks("bottom"),
        "decoder": [blocks(f"up_stages.{level}") for level in reversed(range(levels))],
    }


def build(config: Config) -> nn.Module:
    return NAFNet(config)
