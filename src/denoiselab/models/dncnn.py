"""DnCNN: a plain stack of 3x3 convolutions that predicts the noise.

Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
Denoising. IEEE TIP 2017, section III. Paper: depth 17 (20 for the blind model), 64 features.
"""

import torch
from pydantic import Field
from torch import nn

from denoiselab.config.block import Block, Channels

# With small batches the running statistics at torch's default of 0.1 are too noisy to evaluate with.
BATCH_NORM_MOMENTUM = 0.02


class Config(Block):
    channels: Channels
    depth: int = Field(ge=2)  # convolutions, first and last included
    features: int = Field(ge=1)
    batch_norm: bool  # between the inner convolutions and their ReLU; those convolutions then have no bias


class DnCNN(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        features = config.features
        layers: list[nn.Module] = [nn.Conv2d(config.channels, features, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(config.depth - 2):
            layers.append(nn.Conv2d(features, features, 3, padding=1, bias=not config.batch_norm))
            if config.batch_norm:
                layers.append(nn.BatchNorm2d(features, momentum=BATCH_NORM_MOMENTUM))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(features, config.channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)
        self.reach = config.depth
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.layers[-1].weight, std=1e-3)  # type: ignore[arg-type]

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return noisy - self.layers(noisy)


def from_foreign(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The two public layouts to ours, which numbers its layers alike.

    `model.N.weight/bias` (KAIR: BatchNorm folded into the convolutions) and `module.dncnn.N.*` (SaoYan/DnCNN-PyTorch:
    with BatchNorm, convolutions without bias; ours has one at the first and last, which becomes 0).
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
