"""What several architectures share: layers, the U, padding, reach, noise maps, initialisation."""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import nn

from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.runtime.errors import UserError

# With small batches the running statistics at torch's default of 0.1 are too noisy to evaluate with.
BATCH_NORM_MOMENTUM = 0.02

SCHEMES: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "none": None,
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": nn.init.kaiming_uniform_,
    "kaiming_normal": nn.init.kaiming_normal_,
}

Widths = Annotated[list[PositiveInt], Field(min_length=1)]


def initialise(model: nn.Module, scheme: str) -> None:
    """Draw the weights of all convolutions and linear layers anew, with zero biases; frozen ones stay.

    "none" leaves the architecture's own initialisation. ValueError names an unknown scheme and the known ones.
    """
    if scheme not in SCHEMES:
        raise UserError(f"initialisation: {scheme!r} is unknown; allowed: {', '.join(SCHEMES)}")
    draw = SCHEMES[scheme]
    for layer in model.modules():
        if draw and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.weight.requires_grad:
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def zero(layer: nn.Module) -> None:
    """Set all parameters to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def activated(features: int, *, batch_norm: bool, slope: float = 0.0) -> list[nn.Module]:
    """(BatchNorm +) ReLU, leaky with a slope."""
    norm = [nn.BatchNorm2d(features, momentum=BATCH_NORM_MOMENTUM)] if batch_norm else []
    return [*norm, nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)]


def convolution(
    inputs: int, outputs: int, *, batch_norm: bool, stride: int = 1, slope: float = 0.0, bias: bool | None = None
) -> list[nn.Module]:
    """3x3 convolution (+ BatchNorm) + ReLU; bias None: it has one where no BatchNorm follows."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=not batch_norm if bias is None else bias)
    return [conv, *activated(outputs, batch_norm=batch_norm, slope=slope)]


def two_convolutions(inputs: int, outputs: int, *, batch_norm: bool) -> nn.Sequential:
    """The U-Nets' block: two of `convolution`."""
    first = convolution(inputs, outputs, batch_norm=batch_norm)
    return nn.Sequential(*first, *convolution(outputs, outputs, batch_norm=batch_norm))


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), at first x."""

    def __init__(self, features: int, *, bias: bool = True):
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1, bias=bias)
        self.last = nn.Conv2d(features, features, 3, padding=1, bias=bias)
        zero(self.first)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        zero(self.last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.last(F.relu(self.first(x)))


class U(nn.Module):
    """The body of a U-Net. A subclass sets the parts, every list from the finest level to the coarsest."""

    down_stages: nn.ModuleList
    downs: nn.ModuleList
    bottom: nn.Module
    ups: nn.ModuleList
    up_stages: nn.ModuleList
    concatenates = False  # joins [up, skip] instead of adding the two

    def body(self, x: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """A guide (N, G, h, w), of any size, goes into the first join of one that concatenates."""
        skips = []
        for stage, down in zip(self.down_stages, self.downs, strict=True):
            x = stage(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for stage, up, skip in zip(reversed(self.up_stages), reversed(self.ups), reversed(skips), strict=True):
            x = up(x)
            if guide is not None:
                fits = self.training and guide.shape[-2:] == skip.shape[-2:]  # torch.export knows no sizes to compare
                resized = guide if fits else F.interpolate(guide, skip.shape[-2:], mode="bilinear")
                skip, guide = torch.cat((skip, resized), 1), None
            x = stage(torch.cat((x, skip), 1) if self.concatenates else x + skip)
        return x


def reach(convolutions: Sequence[int], finest: int = 1) -> int:
    """Pixels at most, from the 3x3 convolutions in a row at each level, of which the finest has cells of `finest`.

    Levels halve the resolution. The coarsest cells come on top, as what is strided sees whole cells.
    """
    scales = [finest * 2**level for level in range(len(convolutions))]
    return sum(n * scale for n, scale in zip(convolutions, scales, strict=True)) + scales[-1] - 1


def padded(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """(N, C, H, W) with its last row and column repeated until H and W are multiples."""
    below, right = _missing(x, multiple)
    return F.pad(x, (0, right, 0, below), mode="replicate")


def on_multiple(net: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, multiple: int) -> torch.Tensor:
    """net(x), for a net that needs H and W to be multiples."""
    below, right = _missing(x, multiple)
    return F.pad(net(padded(x, multiple)), (0, -right, 0, -below))  # a slice would tie torch.export to some sizes


def _missing(x: torch.Tensor, multiple: int) -> tuple[int, int]:
    """Rows and columns; written so that torch.export sees that the padded sides are multiples."""
    height, width = ((side + multiple - 1) // multiple * multiple - side for side in x.shape[-2:])
    return height, width


def noise_level(noisy: torch.Tensor, sigma_255: float | torch.Tensor | None) -> torch.Tensor:
    """The level in [0, 1], (N,) or (1,): what is told, in 8-bit units, or else estimated for each image."""
    if sigma_255 is None:
        sigma_255 = estimate_sigma_255(noisy)
    return torch.as_tensor(sigma_255, dtype=noisy.dtype, device=noisy.device).reshape(-1) / 255


def with_noise_map(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """x (N, C, H, W) and a plane of the noise level behind it: (N, C + 1, H, W)."""
    return torch.cat((x, level.reshape(-1, 1, 1, 1).expand(x.shape[0], 1, *x.shape[-2:])), 1)
