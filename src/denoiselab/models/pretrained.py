"""Weights from elsewhere: read without unpickling code, brought to an architecture's own names."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from denoiselab import architectures
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line


def load_weights(model: nn.Module, arch: str, path: Path) -> None:
    """Load a foreign (or own) weights file into `model`, a freshly built module of `arch`.

    .safetensors, or what torch.save wrote of plain tensors (`weights_only`). ValueError names a file that cannot be
    read, holds other things than tensors, or fits neither the module nor a layout that the architecture knows.
    """
    tensors = read(path)
    layout = architectures.foreign_layout(arch)
    own = model.state_dict()
    if tensors.keys() != own.keys() and layout is not None:
        tensors = layout(tensors)
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - tensors.keys() - optional)
    unknown = sorted(tensors.keys() - own.keys())
    wrong = sorted(n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape)
    for what, names in (("lacks", missing), ("has more than the model:", unknown), ("has other shapes:", wrong)):
        if names:
            raise UserError(
                f"{path}: does not fit {arch} as described: {what} {', '.join(names[:3])}{' ...' * (len(names) > 3)}"
            )
    model.load_state_dict(tensors, strict=False)


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file, by name. ValueError where it holds anything else."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  (torch.load raises whatever its unpickler stumbles over)
        raise UserError(f"{path}: not a file of plain tensors: {one_line(error)}") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"{path}: not a mapping of names to tensors")
    return found
