"""DnCNN: stack of 3x3 convolutions that predicts the noise (residual learning).

Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising. IEEE TIP
2017, section III. Paper: depth 17 (20 for the blind model), 64 features. activation, tanh, bias: public variants.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import ImageConv2d, convolution, initialise
from denoiselab.config.base import Block, Channels

LEAKY_SLOPE = 0.2


class Config(Block):
    channels: Channels
    depth: int = Field(ge=2)  # number of convolutions
    features: int = Field(ge=1)
    batch_norm: bool  # between the inner convolutions and their ReLU
    activation: Literal["relu", "leaky_relu"] = "relu"  # leaky: slope 0.2
    tanh: bool = False  # applied to the predicted noise
    bias: Literal["without_norm", "all", "none"] = "without_norm"  # convolutions with a bias: those without BatchNorm


class DnCNN(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        features, slope = config.features, LEAKY_SLOPE if config.activation == "leaky_relu" else 0.0
        bias = None if config.bias == "without_norm" else config.bias == "all"
        layers = convolution(config.channels, features, batch_norm=False, slope=slope, bias=bias, of_image=True)
        for _ in range(config.depth - 2):
            layers += convolution(features, features, batch_norm=config.batch_norm, slope=slope, bias=bias)
        last = ImageConv2d(features, config.channels, 3, padding=1, bias=config.bias != "none")
        self.layers = nn.Sequential(*layers, last, *([nn.Tanh()] if config.tanh else []))
        self.reach = config.depth
        initialise(self.layers, "kaiming_normal")
        nn.init.normal_(last.weight, std=1e-3)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return noisy - self.layers(noisy)


def from_foreign(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert two public layouts, which number their layers like ours.

    `model.N.weight/bias` (KAIR: BatchNorm folded into the convolutions) and `module.dncnn.N.*` (SaoYan/DnCNN-PyTorch:
    BatchNorm, convolutions without bias; our biases of the first and last are set to 0).
    """
    renamed = {}
    for name, tensor in tensors.items():
        layer = name.removeprefix("module.").removeprefix("model.").removeprefix("dncnn.")
        renamed[f"layers.{layer}"] = tensor
    numbers = sorted({int(name.split(".")[1]) for name in renamed if name.split(".")[1].isdigit()})
    for number in numbers[:1] + numbers[-1:]:
        weight = renamed.get(f"layers.{number}.weight")
        if weight is not None:
            renamed.setdefault(f"layers.{number}.bias", weight.new_zeros(len(weight)))
    return renamed


def build(config: Config) -> nn.Module:
    return DnCNN(config)
