"""What it takes to use a model: multiplications, size of its file, memory."""

import resource
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from denoiselab.models import metadata, model_store, tiled_inference

# Functions of (input, weight), whose every weight is used once a value of the output, or of the input.
FORWARD = (torch.conv1d, torch.conv2d, torch.conv3d, F.linear)
TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
PRODUCTS = (torch.matmul, torch.mm, torch.bmm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.bmm)
SIDE = 512  # pixels, of the image whose multiplications are told
COUNTED = (64, 128)  # pixels, sides of those in which they are counted: multiples of what strided nets reduce by
STATUS = Path("/proc/self/status")  # of this process, on Linux


def of(model: nn.Module, folder: Path, device: torch.device) -> dict[str, Any]:
    """`macs_per_megapixel`, `weights_mb` (10^6 bytes) of what `folder` holds, and `peak_mib` of this process so far."""
    card = model_store.read_card(folder)
    return {
        "macs_per_megapixel": macs_per_megapixel(model, card["architecture"]["channels"]),
        "weights_mb": metadata.weights(folder, card).stat().st_size / 1e6,
        "peak_mib": peak_mib(device),
    }


def macs_per_megapixel(model: nn.Module, channels: int) -> int | None:
    """Multiply-accumulates of a network's convolutions and matrix products, told the noise level; None without weights.

    Those of an image of SIDE, from two small ones: they grow with the pixels, but for what is done once an image.
    """
    if not model_store.parameters(model):
        return None
    small, large = (_macs(model, channels, side) for side in COUNTED)
    pixel = (large - small) / (COUNTED[1] ** 2 - COUNTED[0] ** 2)
    image = small - pixel * COUNTED[0] ** 2
    return round((pixel + image / SIDE**2) * 1e6)


def _macs(model: nn.Module, channels: int, side: int) -> int:
    """Of an image, where the model is."""
    device = next(model.parameters()).device
    image, label = torch.zeros(1, channels, side, side, device=device), torch.zeros(1, dtype=torch.long, device=device)
    with torch.no_grad(), _Counter() as counter:
        tiled_inference.forward(model.eval(), image, 25.0, label)
    return counter.macs


class _Counter(TorchFunctionMode):
    """Counts multiply-accumulates. torch's own FlopCounterMode would import its compiler, which takes seconds.

    So would the meta device, on which nothing had to be computed.
    """

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
        elif function is F.scaled_dot_product_attention:  # of query and key, and of that and value
            self.macs += output.shape[:-1].numel() * second.shape[-2] * (first.shape[-1] + output.shape[-1])
        return output


def peak_mib(device: torch.device) -> float:
    """Largest memory so far: of the tensors on CUDA, else of the whole process (its libraries take some hundred)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return process_peak_mib()


def process_peak_mib() -> float:
    """Largest memory of this process so far."""
    if STATUS.exists():  # on Linux ru_maxrss may be that of the process which started this one
        lines = STATUS.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
