"""WINNet: a redundant transform by learned lifting steps, denoised by learned sparse coding; takes the noise level.

Huang, Dragotti: WINNet: Wavelet-Inspired Invertible Network for Image Denoising. IEEE TIP 2022. One level, as in the
published weights for sigma 0 to 55: 4 steps of 4 blocks, 32 features, 64 atoms, 4 iterations. All thresholds are
proportional to the noise level. Colour images are restored channel by channel.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import noise_level, without_autocast
from denoiselab.config.base import Block, Channels

SIDE = 4  # pixels; of the patches whose DCT coefficients are the channels of the transform
DETAILS = SIDE**2 - 1  # channels besides the coarse one
USUAL_SIGMA_255 = 50.0  # at which the thresholds are those stored
SHARPNESS = 20.0  # of the softplus that keeps thresholds positive


class Config(Block):
    channels: Channels
    lifting_steps: int = Field(ge=1)
    blocks: int = Field(ge=1)  # residual blocks of the networks in a step
    features: int = Field(ge=1)  # of these networks
    atoms: int = Field(ge=1)  # of the sparse code
    iterations: int = Field(ge=1)  # of sparse coding


class SoftThreshold(nn.Module):
    """Shrinks each feature towards 0, by a learned threshold times the noise level."""

    def __init__(self, features: int):
        super().__init__()
        self.raw = nn.Parameter(-0.1 * torch.rand(features))

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        threshold = F.softplus(self.raw, beta=SHARPNESS).view(1, -1, 1, 1) * level
        return x.sign() * F.relu(x.abs() - threshold)


def separable(features: int) -> nn.Sequential:
    """5x5 depthwise, then pointwise convolution."""
    depthwise = nn.Conv2d(features, features, 5, padding=2, groups=features, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(features, features, 1, bias=False))


class ShrinkageBlock(nn.Module):
    """Residual block of separable convolutions with soft thresholds."""

    def __init__(self, features: int):
        super().__init__()
        self.first, self.last = separable(features), separable(features)
        self.shrink_first, self.shrink_last = SoftThreshold(features), SoftThreshold(features)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return self.shrink_last(x + self.last(self.shrink_first(self.first(x), level)), level)


class Predictor(nn.Module):
    """Network of a lifting step: one group of channels from the other."""

    def __init__(self, inputs: int, outputs: int, features: int, blocks: int):
        super().__init__()
        self.head = nn.Conv2d(inputs, features, 3, padding=1, bias=False)
        self.shrink = SoftThreshold(features)
        self.blocks = nn.ModuleList(ShrinkageBlock(features) for _ in range(blocks))
        self.tail = nn.Conv2d(features, outputs, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        x = self.shrink(self.head(x), level)
        for block in self.blocks:
            x = block(x, level)
        return self.tail(x)


class LiftingStep(nn.Module):
    """Subtracts a prediction from the details, then adds an update to the coarse channel; `undo` inverts it exactly."""

    def __init__(self, features: int, blocks: int):
        super().__init__()
        self.predict = Predictor(1, DETAILS, features, blocks)
        self.update = Predictor(DETAILS, 1, features, blocks)

    def forward(
        self, coarse: torch.Tensor, details: torch.Tensor, level: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        details = details - self.predict(coarse, level)
        return coarse + self.update(details, level), details

    def undo(
        self, coarse: torch.Tensor, details: torch.Tensor, level: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        coarse = coarse - self.update(details, level)
        return coarse, details + self.predict(coarse, level)


class SparseCoder(nn.Module):
    """Learned iterative shrinkage (LISTA, with one pair of dictionaries): details to their sparse approximation."""

    def __init__(self, atoms: int, iterations: int):
        super().__init__()
        self.analysis = nn.Conv2d(DETAILS, atoms, 3, padding=1, bias=False)
        self.synthesis = nn.Conv2d(atoms, DETAILS, 3, padding=1, bias=False)
        self.shrink = nn.ModuleList(SoftThreshold(atoms) for _ in range(iterations))

    def forward(self, details: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        code = self.analysis(details)
        for shrink in self.shrink:
            code = shrink(code + self.analysis(details - self.synthesis(code)), level)
        return self.synthesis(code)


class WINNet(nn.Module):
    noise_aware = True
    patches: torch.Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.steps = nn.ModuleList(LiftingStep(config.features, config.blocks) for _ in range(config.lifting_steps))
        self.coder = SparseCoder(config.atoms, config.iterations)
        self.register_buffer("patches", dct_filters(), persistent=False)
        network = 2 + 4 * config.blocks
        self.reach = 2 * (2 * network * config.lifting_steps) + 2 * (config.iterations + 1) + SIDE - 1

    def forward(self, noisy: torch.Tensor, sigma_255: float | torch.Tensor | None = None) -> torch.Tensor:
        """sigma_255: noise level, a number or (N,); None: estimated for each image."""
        channels = noisy.shape[1]
        level = noise_level(noisy, sigma_255) * 255 / USUAL_SIGMA_255
        level = level.expand(noisy.shape[0]).repeat_interleave(channels).view(-1, 1, 1, 1)
        with without_autocast(noisy.device.type):  # differences between steps are small
            return self._restored(noisy.flatten(0, 1)[:, None], level).view(noisy.shape)

    def _restored(self, noisy: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Gray images (N, 1, H, W), levels (N, 1, 1, 1)."""
        before, after = SIDE // 2 - 1, SIDE // 2
        pad = partial(F.pad, mode="replicate")
        transformed = F.conv2d(pad(noisy, (before, after, before, after)), self.patches)
        coarse, details = transformed[:, :1], transformed[:, 1:]
        for step in self.steps:
            coarse, details = step(coarse, details, level)
        details = self.coder(details, level)
        for step in reversed(self.steps):
            coarse, details = step.undo(coarse, details, level)  # type: ignore[operator]
        transformed = pad(torch.cat((coarse, details), 1), (after, before, after, before))
        return F.conv2d(transformed, self.patches.flip(2, 3).transpose(0, 1)) / SIDE**2


def dct_filters() -> torch.Tensor:
    """Orthonormal DCT of the SIDE^2 pixels of a patch in reading order: (SIDE^2, 1, SIDE, SIDE), the mean first."""
    length = SIDE**2
    place = torch.arange(length)
    waves = torch.cos(math.pi / length * torch.outer(place, place + 0.5)) * math.sqrt(2 / length)
    waves[0] = 1 / math.sqrt(length)
    return waves.view(length, 1, SIDE, SIDE)


NAMES: dict[str, str | Callable[[re.Match[str]], str]] = {  # the authors' names, and ours
    r"innnet\.0\.net\.(\d+)\.": r"steps.\1.",
    r"\.predictor\.": ".predict.",
    r"\.updator\.": ".update.",
    r"\.net\.0\.conv\.": ".head.",
    r"\.net\.0\.soft\.": ".shrink.",
    r"\.convOut\.": ".tail.",
    r"\.conv1\.conv([12])\.": lambda found: f".first.{int(found[1]) - 1}.",
    r"\.conv2\.conv([12])\.": lambda found: f".last.{int(found[1]) - 1}.",
    r"\.soft1\.": ".shrink_first.",
    r"\.soft2\.": ".shrink_last.",
    r"\.net\.(\d{1,4})\.": lambda found: f".blocks.{int(found[1]) - 1}.",
    r"^ddnnet\.0\.A\.": "coder.analysis.",
    r"^ddnnet\.0\.S\.": "coder.synthesis.",
    r"^ddnnet\.0\.blocks\.(-?\d+)\.": lambda found: f"coder.shrink.{int(found[1]) + 1}.",
    r"\.thre$": ".raw",
}


def from_foreign(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert the authors' layout (jjhuangcs/WINNet) of a network with one level."""
    if "ddnnet.0.A.weight" not in tensors:
        return tensors
    renamed = {}
    for name, tensor in tensors.items():
        for official, own in NAMES.items():
            name = re.sub(official, own, name)
        renamed[name] = tensor
    return renamed


def recognise(tensors: dict[str, torch.Tensor]) -> dict[str, Any] | None:
    """Settings of the network with these tensors, in our layout, or None."""
    if not {"coder.analysis.weight", "steps.0.predict.head.weight"} <= tensors.keys():
        return None

    def count(pattern: str) -> int:
        return sum(bool(re.fullmatch(pattern, name)) for name in tensors)

    return {
        "channels": 1,
        "lifting_steps": count(r"steps\.\d+\.predict\.head\.weight"),
        "blocks": count(r"steps\.0\.predict\.blocks\.\d+\.shrink_first\.raw"),
        "features": len(tensors["steps.0.predict.head.weight"]),
        "atoms": len(tensors["coder.analysis.weight"]),
        "iterations": count(r"coder\.shrink\.\d+\.raw"),
    }


def build(config: Config) -> nn.Module:
    return WINNet(config)
