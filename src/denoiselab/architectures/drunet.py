"""DRUNet: bias-free residual U-Net with a noise level map as input.

Zhang, Li, Zuo, Zhang, Van Gool, Timofte: Plug-and-Play Image Restoration with Deep Denoiser Prior. IEEE TPAMI 2021,
section 3 and figure 1. Additive skip connections. Paper: widths 64, 128, 256, 512, 4 blocks.
"""

import re
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from pydantic import Field
from torch import nn

from denoiselab.architectures._layers import (
    ImageConv2d,
    ResidualBlock,
    Widths,
    noise_level,
    on_multiple,
    reach,
    with_noise_map,
)
from denoiselab.config.base import Block, Channels


class Config(Block):
    channels: Channels
    widths: Widths  # features at each level, from full resolution down
    blocks: int = Field(ge=1)  # residual blocks per level in the encoder, and in the decoder
    noise_map: bool = True  # the noise level is an additional input channel; false: blind


class DRUNet(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        widths = config.widths

        def stage(features: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(features, bias=False) for _ in range(config.blocks)))

        self.noise_aware = config.noise_map
        self.head = ImageConv2d(config.channels + config.noise_map, widths[0], 3, padding=1, bias=False)
        self.downs = nn.ModuleList(
            nn.Sequential(stage(a), nn.Conv2d(a, b, 2, stride=2, bias=False)) for a, b in pairwise(widths)
        )
        self.bottom = stage(widths[-1])
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False), stage(a)) for a, b in pairwise(widths)
        )
        self.tail = ImageConv2d(widths[0], config.channels, 3, padding=1, bias=False)
        self.multiple = 2 ** (len(widths) - 1)
        sides = 2 * 2 * config.blocks
        self.reach = reach([sides] * (len(widths) - 1) + [sides // 2]) + 2

    def forward(self, noisy: torch.Tensor, sigma_255: float | torch.Tensor | None = None) -> torch.Tensor:
        """sigma_255: noise level, a number or (N,); None: estimated for each image."""
        level = noise_level(noisy, sigma_255) if self.noise_aware else None
        return on_multiple(partial(self._restored, level=level), noisy, self.multiple)

    def _restored(self, noisy: torch.Tensor, level: torch.Tensor | None) -> torch.Tensor:
        x = self.head(noisy if level is None else with_noise_map(noisy, level))
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        x = x + self.bottom(x)
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            x = skip + up(x)
        return self.tail(x)


def from_foreign(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert the authors' layout (KAIR, DPIR): m_head, m_down1 to m_downN, m_body, m_upN to m_up1, m_tail.

    The last layer of m_downN is its strided convolution, the first of m_upN its transposed one.
    """
    last = {part: max(steps) for part, steps in _numbers(tensors, r"m_(down\d{1,4})\.(\d{1,4})\.").items()}
    renamed = {}
    for name, tensor in tensors.items():
        new = re.sub(r"\.res\.([02])\.", lambda found: ".first." if found[1] == "0" else ".last.", name)
        new = re.sub(r"^m_(head|tail)\.", r"\1.", new).replace("m_body.", "bottom.")
        if found := re.fullmatch(r"m_(down|up)(\d{1,4})\.(\d{1,4})\.(.+)", new):
            side, level, step, rest = found[1], int(found[2]) - 1, int(found[3]), found[4]
            if side == "down":
                place = "1" if step == last[f"down{found[2]}"] else f"0.{step}"
            else:
                place = "0" if step == 0 else f"1.{step - 1}"
            new = f"{side}s.{level}.{place}.{rest}"
        renamed[new] = tensor
    return renamed


def recognise(tensors: dict[str, torch.Tensor]) -> dict[str, Any] | None:
    """Settings of the network with these tensors, in our layout, or None."""
    if not {"head.weight", "tail.weight", "bottom.0.first.weight"} <= tensors.keys():
        return None
    channels, (features, inputs) = len(tensors["tail.weight"]), tensors["head.weight"].shape[:2]
    strided = [f"downs.{level}.1.weight" for level in range(len(tensors))]
    return {
        "channels": channels,
        "widths": [features, *(len(tensors[name]) for name in strided if name in tensors)],
        "blocks": sum(name.startswith("bottom.") and name.endswith(".first.weight") for name in tensors),
        "noise_map": inputs > channels,
    }


def _numbers(names: Iterable[str], pattern: str) -> dict[str, set[int]]:
    """Numbers in names (second group of the pattern) by the part that they number (first group)."""
    numbers: dict[str, set[int]] = {}
    for name in names:
        if found := re.match(pattern, name):
            numbers.setdefault(found[1], set()).add(int(found[2]))
    return numbers


def build(config: Config) -> nn.Module:
    return DRUNet(config)
