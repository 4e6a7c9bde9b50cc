"""DnCNN: stack of 3x3 convolutions that predicts the noise (residual learning).

Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising. IEEE TIP
2017, section III. Paper: depth 17 (20 for the blind model), 64 features. activation, tanh, bias: public variants.
"""

import re
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import ImageConv2d, convolution, initialise
from denoiselab.config.base import Block, Channels

LEAKY_SLOPE = 0.2
AUTHORS_EPSILON = 1e-4  # of BatchNorm in cszn/DnCNN, TrainingCodes/dncnn_pytorch; torch's default is 1e-5
LAYER_WEIGHT = re.compile(r"layers\.(\d{1,4})\.weight")


class Config(Block):
    channels: Channels
    depth: int = Field(ge=2)  # number of convolutions
    features: int = Field(ge=1)
    batch_norm: bool  # between the inner convolutions and their ReLU
    activation: Literal["relu", "leaky_relu"] = "relu"  # leaky: slope 0.2
    tanh: bool = False  # applied to the predicted noise
    bias: Literal["without_norm", "all", "none"] = "without_norm"  # convolutions with a bias: those without BatchNorm
    bgr: bool = False  # takes and gives blue first, as networks trained on images that OpenCV read


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
        self.bgr = config.bgr
        initialise(self.layers, "kaiming_normal")
        nn.init.normal_(last.weight, std=1e-3)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        if self.bgr:
            return noisy - self.layers(noisy.flip(1)).flip(1)
        return noisy - self.layers(noisy)


def from_foreign(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert public layouts that number their layers like ours: `N.*`, after `dncnn.` once, twice or never.

    KAIR folds BatchNorm into the convolutions; SaoYan's has no biases. The authors' PyTorch layout has a bias in the
    first convolution only: ours of the last is 0, and the variances contain the difference of BatchNorm's epsilons.
    """
    renamed = {re.sub(r"^(dncnn\.){0,2}(?=\d)", "layers.", name): tensor for name, tensor in tensors.items()}
    if len(found := _convolutions(renamed)) < 2:
        return renamed
    first, *_, last = found
    if f"{first}.bias" in renamed and f"{last}.bias" not in renamed:
        renamed[f"{last}.bias"] = torch.zeros(len(renamed[f"{last}.weight"]))
        variances = {name: tensor for name, tensor in renamed.items() if name.endswith("running_var")}
        renamed |= {name: tensor + AUTHORS_EPSILON - nn.BatchNorm2d(1).eps for name, tensor in variances.items()}
    return renamed


def recognise(tensors: dict[str, torch.Tensor]) -> dict[str, Any] | None:
    """Settings of the network with these tensors, in our layout, or None."""
    if len(found := _convolutions(tensors)) < 2:
        return None
    first, second, *_ = found
    batch_norm = any(name.endswith("running_mean") for name in tensors)
    all_biased = batch_norm and len(found) > 2 and f"{second}.bias" in tensors
    features, channels = tensors[f"{first}.weight"].shape[:2]
    return {
        "channels": channels,
        "depth": len(found),
        "features": features,
        "batch_norm": batch_norm,
        "bias": "none" if f"{first}.bias" not in tensors else "all" if all_biased else "without_norm",
    }


def _convolutions(tensors: dict[str, torch.Tensor]) -> list[str]:
    """Names of the convolutions, in the order of the layers."""
    numbered = {int(found[1]) for n, t in tensors.items() if t.ndim == 4 and (found := LAYER_WEIGHT.fullmatch(n))}
    return [f"layers.{number}" for number in sorted(numbered)]


def build(config: Config) -> nn.Module:
    return DnCNN(config)
