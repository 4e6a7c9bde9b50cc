"""Model complexity: multiply-accumulate operations, size of the weights, peak memory."""

import resource
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from denoiselab.models import metadata, model_store, tiled_inference

# Functions of (input, weight). Each weight is used once per output value (FORWARD) or input value (TRANSPOSED).
FORWARD = (torch.conv1d, torch.conv2d, torch.conv3d, F.linear)
TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
PRODUCTS = (torch.matmul, torch.mm, torch.bmm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.bmm)
SIDE = 512  # pixels; side of the image for which the count is reported
COUNTED = (64, 128)  # pixels; sides of the images that are run, multiples of the networks' strides
STATUS = Path("/proc/self/status")  # Linux only


def of(model: nn.Module, folder: Path, device: torch.device) -> dict[str, Any]:
    """`macs_per_megapixel`, `weights_mb` (of the weights file in `folder`, 10^6 bytes), `peak_mib` (memory so far)."""
    card = model_store.read_card(folder)
    return {
        "macs_per_megapixel": macs_per_megapixel(model, card["architecture"]["channels"]),
        "weights_mb": metadata.weights(folder, card).stat().st_size / 1e6,
        "peak_mib": peak_mib(device),
    }


def macs_per_megapixel(model: nn.Module, channels: int) -> int | None:
    """Multiply-accumulate operations (MACs) of convolutions and matrix products per megapixel; None without weights.

    Extrapolated from two small images to one of SIDE x SIDE, as the count is linear in the number of pixels.
    Noise-aware networks are given the noise level.
    """
    if not model_store.parameters(model):
        return None
    small, large = (_macs(model, channels, side) for side in COUNTED)
    per_pixel = (large - small) / (COUNTED[1] ** 2 - COUNTED[0] ** 2)
    per_image = small - per_pixel * COUNTED[0] ** 2
    return round((per_pixel + per_image / SIDE**2) * 1e6)


def _macs(model: nn.Module, channels: int, side: int) -> int:
    """MACs for a square image, counted by running the model on its device."""
    device = next(model.parameters()).device
    image, label = torch.zeros(1, channels, side, side, device=device), torch.zeros(1, dtype=torch.long, device=device)
    with torch.no_grad(), _Counter() as counter:
        tiled_inference.forward(model.eval(), image, 25.0, label)
    return counter.macs


class _Counter(TorchFunctionMode):
    """Counts MACs. Not torch's FlopCounterMode or the meta device: they import its compiler, which takes seconds."""

    macs = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        first, second = [*args, *(kwargs or {}).values(), None, None][:2]
        if function in FORWARD:
            self.macs += output.numel() * second[0].numel()
        elif function in TRANSPOSED:
            self.macs += first.numel() * second[0].numel()
        elif function in PRODUCTS:
            self.macs += output.numel() * first.shape[-1]
        elif function is F.scaled_dot_product_attention:  # query times key, and the weights times value
            self.macs += output.shape[:-1].numel() * second.shape[-2] * (first.shape[-1] + output.shape[-1])
        return output


def peak_mib(device: torch.device) -> float:
    """Peak memory in MiB: of tensors on CUDA, else of the whole process (several hundred for its libraries)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return process_peak_mib()


def process_peak_mib() -> float:
    """Peak resident memory of this process in MiB."""
    if STATUS.exists():  # on Linux ru_maxrss may be inherited from the parent process
        lines = STATUS.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
