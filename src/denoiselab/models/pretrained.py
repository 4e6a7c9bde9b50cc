"""Pre-trained weights: safe loading without executing pickled code, conversion of foreign layouts."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from denoiselab import architectures
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line


def load_weights(model: nn.Module, arch: str, path: Path) -> None:
    """Load a weights file into `model`, a new module of architecture `arch`.

    .safetensors, or plain tensors saved by torch.save (`weights_only`), in our layout or a foreign one that the
    architecture supports. UserError names a file that cannot be read, holds anything but tensors, or does not fit.
    """
    tensors = read(path)
    layout = architectures.foreign_layout(arch)
    expected = model.state_dict()
    if tensors.keys() != expected.keys() and layout is not None:
        tensors = layout(tensors)
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - tensors.keys() - optional)
    unknown = sorted(tensors.keys() - expected.keys())
    wrong = sorted(n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape)
    for what, names in (("lacks", missing), ("unknown:", unknown), ("wrong shapes:", wrong)):
        if names:
            raise UserError(f"{path}: does not fit {arch}: {what} {', '.join(names[:3])}{' ...' * (len(names) > 3)}")
    model.load_state_dict(tensors, strict=False)


def read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a weights file by name. UserError if it holds anything else."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  (torch.load raises various errors for damaged files)
        raise UserError(f"{path}: not a file of plain tensors: {one_line(error)}") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path}: not a mapping of names to tensors")
    return content
