"""VGG16 convolutional features (Simonyan and Zisserman, ICLR 2015), with torchvision's weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from denoiselab.architectures._unet import IMAGENET_DEVIATION, IMAGENET_MEAN
from denoiselab.models import pretrained
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

LAYERS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256)  # up to relu3_3
TAPS = (3, 8, 15)  # relu1_2, relu2_2, relu3_3
ALL_LAYERS = (*LAYERS, "pool", 512, 512, 512, "pool", 512, 512, 512)  # up to relu5_3
ALL_TAPS = (*TAPS, 22, 29)  # and relu4_3, relu5_3


class Vgg16(nn.Module):
    """features(images) for images (N, 1 or 3, H, W) in [0, 1]: outputs of `taps` (relu1_2, relu2_2, relu3_3)."""

    def __init__(self, plan: Sequence[int | str] = LAYERS, taps: Sequence[int] = TAPS) -> None:
        super().__init__()
        self.taps = taps
        layers: list[nn.Module] = []
        planes = 3
        for width in plan:
            if isinstance(width, int):
                layers += [nn.Conv2d(planes, width, 3, padding=1), nn.ReLU()]
                planes = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.ModuleList(layers)
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = (images - self.mean) / self.deviation
        maps = []
        for n, layer in enumerate(self.layers):
            x = layer(x)
            if n in self.taps:
                maps.append(x)
        return maps


def load_weights(path: Path, net: Vgg16 | None = None) -> Vgg16:
    """Load torchvision's vgg16 weights into `net` (default: layers up to relu3_3). UserError for any other file."""
    net = net or Vgg16()
    tensors = pretrained.read(path)
    names = {name: "features." + name.removeprefix("layers.") for name in net.state_dict()}
    missing = sorted(set(names.values()) - tensors.keys())
    if missing:
        raise UserError(f"{path}: not torchvision's VGG16: lacks {missing[0]}")
    try:
        net.load_state_dict({name: tensors[original] for name, original in names.items()})
    except RuntimeError as error:
        raise UserError(f"{path}: not torchvision's VGG16: {one_line(error)}") from None
    return net
