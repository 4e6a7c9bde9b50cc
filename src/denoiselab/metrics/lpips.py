"""LPIPS v0.1 on VGG16 (Zhang et al., CVPR 2018), a perceptual distance; 0 for identical images."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from denoiselab.config import Lpips as Settings
from denoiselab.imaging.tensors import planar
from denoiselab.models import pretrained, vgg
from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError

EPSILON = 1e-10  # in the normalisation, as published


class Lpips(nn.Module):
    """(clean, restored) -> distances (N,); images (N, 1 or 3, H, W) in [0, 1], at least 16x16.

    Squared differences of unit-normalised features, weighted by the heads, averaged over space, summed over five
    layers. LPIPS's shift and scale of [-1, 1] equal ImageNet's mean and deviation on [0, 1], which VGG16 applies.
    """

    def __init__(self, net: vgg.Vgg16, heads: list[torch.Tensor]):
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        for n, head in enumerate(heads):
            self.register_buffer(f"head{n}", head.view(1, -1, 1, 1))

    @torch.inference_mode()
    def forward(self, clean: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.net.features(clean), self.net.features(restored), strict=True)
        distances = [
            (self.get_buffer(f"head{n}") * (_unit(a) - _unit(b)).square()).sum(1).mean((1, 2))
            for n, (a, b) in enumerate(pairs)
        ]
        return torch.stack(distances).sum(0)

    def between(self, clean: np.ndarray, restored: np.ndarray, *, data_range: float) -> float:
        """Distance of two arrays (H, W, C), clipped to [0, data_range]."""
        device = self.get_buffer("head0").device
        pair = ((x / data_range).clip(0, 1).astype(np.float32) for x in (clean, restored))
        return self(*(planar(x).to(device) for x in pair)).item()


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + EPSILON)


def load(settings: Settings) -> Lpips:
    """The metric, from torchvision's VGG16 weights and LPIPS's heads. UserError for a wrong file."""
    from denoiselab.runtime.download import obtain

    folder, root = paths.downloads(), paths.shared_root()
    net = obtain("vgg16", settings.vgg16, sha256=settings.sha256, folder=folder, root=root)
    heads = obtain("lpips", settings.heads, sha256=settings.heads_sha256, folder=folder, root=root)
    return Lpips(vgg.load_weights(net, vgg.Vgg16(vgg.ALL_LAYERS, vgg.ALL_TAPS)), read_heads(heads))


def read_heads(path: Path) -> list[torch.Tensor]:
    """Weights (C,) of the five layers. UserError if the file does not hold LPIPS's heads for VGG16."""
    tensors = pretrained.read(path)
    heads = []
    for n, width in enumerate((64, 128, 256, 512, 512)):
        name = f"lin{n}.model.1.weight"
        if name not in tensors or tensors[name].numel() != width:
            raise UserError(f"{path}: not the heads of LPIPS for VGG16: {name} with {width} values is missing")
        heads.append(tensors[name].float().flatten())
    return heads
