"""Building blocks of the architectures: layers, U-Net body, padding, receptive field, noise maps, initialisation."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import nn

from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.runtime.errors import UserError

# With small batches, running statistics with torch's default of 0.1 are too noisy for evaluation.
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
    """Initialise the weights of all convolutions and linear layers, biases to zero; frozen layers are skipped.

    "none" keeps the architecture's initialisation. UserError for an unknown scheme, with the known ones.
    """
    if scheme not in SCHEMES:
        raise UserError(f"init: {scheme!r} is unknown; allowed: {', '.join(SCHEMES)}")
    draw = SCHEMES[scheme]
    for layer in model.modules():
        if draw and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.weight.requires_grad:
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _under_autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Context in which the computations on a device (cpu, cuda) are not autocast."""
    return torch.autocast(device, enabled=False) if _under_autocast(device) else nullcontext()


class _InFloat32:
    """Computes in float32 under autocast: in bfloat16, an image would be rounded to 8 bits, which costs 0.02 dB."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        device = x.device.type
        if not _under_autocast(device):
            return super().forward(x)  # type: ignore[misc]
        with torch.autocast(device, enabled=False):
            return super().forward(x.float())  # type: ignore[misc]


class ImageConv2d(_InFloat32, nn.Conv2d):
    """Convolution of an image, or to one."""


class ImageConvTranspose2d(_InFloat32, nn.ConvTranspose2d):  # type: ignore[misc]
    """Transposed convolution to an image."""


def zero(layer: nn.Module) -> None:
    """Set all parameters to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def activated(features: int, *, batch_norm: bool, slope: float = 0.0) -> list[nn.Module]:
    """(BatchNorm +) ReLU, or leaky ReLU with a slope."""
    norm = [nn.BatchNorm2d(features, momentum=BATCH_NORM_MOMENTUM)] if batch_norm else []
    return [*norm, nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)]


def convolution(
    inputs: int,
    outputs: int,
    *,
    batch_norm: bool,
    stride: int = 1,
    slope: float = 0.0,
    bias: bool | None = None,
    of_image: bool = False,
) -> list[nn.Module]:
    """3x3 convolution (+ BatchNorm) + ReLU; bias None: only without BatchNorm; `of_image`: the input is an image."""
    kind = ImageConv2d if of_image else nn.Conv2d
    conv = kind(inputs, outputs, 3, stride, padding=1, bias=not batch_norm if bias is None else bias)
    return [conv, *activated(outputs, batch_norm=batch_norm, slope=slope)]


def two_convolutions(inputs: int, outputs: int, *, batch_norm: bool, of_image: bool = False) -> nn.Sequential:
    """Block of the U-Nets: `convolution` twice."""
    first = convolution(inputs, outputs, batch_norm=batch_norm, of_image=of_image)
    return nn.Sequential(*first, *convolution(outputs, outputs, batch_norm=batch_norm))


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), initialised to the identity."""

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
    """Body of a U-Net. Subclasses set the parts, each list from the finest to the coarsest level."""

    down_stages: nn.ModuleList
    downs: nn.ModuleList
    bottom: nn.Module
    ups: nn.ModuleList
    up_stages: nn.ModuleList
    concatenates = False  # skips are concatenated, [up, skip], instead of added

    def body(self, x: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """Encoder, bottom and decoder. A guide (N, G, h, w) of any size is concatenated at the first skip."""
        skips = []
        for stage, down in zip(self.down_stages, self.downs, strict=True):
            x = stage(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for stage, up, skip in zip(reversed(self.up_stages), reversed(self.ups), reversed(skips), strict=True):
            x = up(x)
            if guide is not None:
                fits = self.training and guide.shape[-2:] == skip.shape[-2:]  # torch.export has symbolic sizes
                resized = guide if fits else F.interpolate(guide, skip.shape[-2:], mode="bilinear")
                skip, guide = torch.cat((skip, resized), 1), None
            x = stage(torch.cat((x, skip), 1) if self.concatenates else x + skip)
        return x


def reach(convolutions: Sequence[int], finest: int = 1) -> int:
    """Upper bound of the receptive field's radius in pixels.

    `convolutions`: number of 3x3 convolutions at each level, each of half the resolution of the one before; `finest`:
    pixels per cell at the first level. One coarsest cell is added, as strided layers see whole cells.
    """
    scales = [finest * 2**level for level in range(len(convolutions))]
    return sum(n * scale for n, scale in zip(convolutions, scales, strict=True)) + scales[-1] - 1


def padded(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Pad (N, C, H, W) by repeating the last row and column until H and W are multiples of `multiple`."""
    below, right = _missing(x, multiple)
    return F.pad(x, (0, right, 0, below), mode="replicate")


def on_multiple(net: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, multiple: int) -> torch.Tensor:
    """net(x) for a network that needs H and W to be multiples: pad, run, crop."""
    below, right = _missing(x, multiple)
    return F.pad(net(padded(x, multiple)), (0, -right, 0, -below))  # slicing would fix sizes in torch.export


def _missing(x: torch.Tensor, multiple: int) -> tuple[int, int]:
    """Missing rows and columns, in a form from which torch.export infers that padded sides are multiples."""
    height, width = ((side + multiple - 1) // multiple * multiple - side for side in x.shape[-2:])
    return height, width


def noise_level(noisy: torch.Tensor, sigma_255: float | torch.Tensor | None) -> torch.Tensor:
    """Noise level relative to white, (N,) or (1,): `sigma_255` / 255, or estimated for each image if None."""
    if sigma_255 is None:
        sigma_255 = estimate_sigma_255(noisy)
    return torch.as_tensor(sigma_255, dtype=noisy.dtype, device=noisy.device).reshape(-1) / 255


def with_noise_map(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Append the noise level as a constant channel to x (N, C, H, W): (N, C + 1, H, W)."""
    return torch.cat((x, level.reshape(-1, 1, 1, 1).expand(x.shape[0], 1, *x.shape[-2:])), 1)
