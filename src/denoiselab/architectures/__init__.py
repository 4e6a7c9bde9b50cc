"""Architectures: one module for each, named like its `arch` in params.yaml.

Interface. Each module has `Config`, a pydantic block of the architecture's keys, and `build(config)`, which returns a
torch.nn.Module from (N, C, H, W) float, in [0, 1] plus noise and of any H and W, to the same shape, not clipped.
Attributes of the torch.nn.Module:

- `reach`: radius of the receptive field in pixels (None: unlimited); sets the overlap of tiles.
- `noise_aware = True`: forward also takes the noise level `sigma_255`: a number, a tensor (N,), or None to estimate it
  for each image.
- `classical = True`: a method without training, to be listed in models/metadata.py too.
- `calibrated = True`: calibrated instead of trained, see classical.py.
- `adopts`, `label_aware`: see guided_unet.py.
- `from_weights = True`: built from its tensors when they are loaded, see spandrel.py.
- `task = "classify"`: a classifier; forward returns logits (N, classes), `features(x)` the feature maps of each stage.

Modules may also have two functions, which import weights (models/pretrained.py):

- `from_foreign(tensors)` renames the tensors of a public layout to ours; other tensors are returned as they are.
- `recognise(tensors)` returns the settings of the network with these tensors, in our layout, or None.

Shared layers are in _layers.py. To add a model: one module here and one block in conf/model/.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from denoiselab.architectures._layers import SCHEMES, initialise
from denoiselab.config.base import check as check_block
from denoiselab.runtime.errors import UserError

RENAMED = {"unet": "unet_classic"}
Tensors = dict[str, torch.Tensor]
Layout = Callable[[Tensors], Tensors] | None
MAX_VALUE, MAX_LENGTH = 10_000, 100  # of numbers and lists in a block, which may come from an untrusted card

__all__ = [
    "SCHEMES",
    "build",
    "check",
    "check_all",
    "defaults",
    "foreign_layout",
    "initialise",
    "known",
    "outline",
    "recogniser",
    "settings",
]


def known() -> list[str]:
    """Names of all architectures."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def build(block: dict[str, Any], where: str = "model") -> nn.Module:
    """Build a newly initialised module from a block such as {"arch": "resunet", "channels": 3, ...}.

    UserError, beginning with `where`, for an unknown architecture, key or value, with what is allowed.
    """
    module = _module(block.get("arch"), where)
    return module.build(_config(module, block, where))


def check(block: dict[str, Any], where: str) -> None:
    """Check a block without building its module. UserError as in `build`."""
    _config(_module(block.get("arch"), where), block, where)


def check_all(blocks: dict[str, dict[str, Any]], channels: int) -> None:
    """Check the blocks of models, by name. UserError as in `build`, or if one is not for images of `channels`."""
    for name, block in blocks.items():
        check(block, where=f"models.{name}")
        if block.get("channels") != channels:
            raise UserError(f"models.{name}.channels: {block.get('channels')}, but data.channels is {channels}")


def outline(block: dict[str, Any], where: str = "model") -> nn.Module:
    """Build the module without allocating its weights (meta device), to inspect it. UserError as in `build`."""
    with torch.device("meta"), _Unfilled():
        return build(block, where)


class _Unfilled(TorchFunctionMode):
    """Skips normal initialisation: on the meta device torch would import its compiler for it, which takes seconds."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def foreign_layout(arch: str) -> Layout:
    """The architecture's `from_foreign`, or None."""
    return getattr(_module(arch, "model"), "from_foreign", None)


def recogniser(arch: str) -> Callable[[Tensors], dict[str, Any] | None] | None:
    """The architecture's `recognise`, or None."""
    return getattr(_module(arch, "model"), "recognise", None)


def settings(block: dict[str, Any], where: str = "model") -> dict[str, Any]:
    """All keys of the block's architecture, with defaults. UserError as in `build`."""
    return _config(_module(block.get("arch"), where), block, where).model_dump()


def defaults(arch: str) -> dict[str, Any]:
    """The keys of the architecture's block that may be left out, and their values then."""
    fields = _module(arch, "model").Config.model_fields
    return {key: field.get_default() for key, field in fields.items() if not field.is_required()}


def _module(arch: Any, where: str) -> Any:
    if arch in RENAMED:
        raise UserError(f"{where}.arch: {arch!r} is now called {RENAMED[arch]!r}")
    if arch not in known():
        raise UserError(f"{where}.arch: {arch!r} is unknown; allowed: {', '.join(known())}")
    return importlib.import_module(f"denoiselab.architectures.{arch}")


def _config(module: Any, block: dict[str, Any], where: str) -> Any:
    keys = {k: v for k, v in block.items() if k != "arch"}
    for key, value in keys.items():
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > MAX_LENGTH or any(isinstance(number, int) and number > MAX_VALUE for number in numbers):
            raise UserError(f"{where}.{key}: too large; at most {MAX_VALUE}, in lists of at most {MAX_LENGTH}")
    return check_block(module.Config, keys, where=f"{where}.")
