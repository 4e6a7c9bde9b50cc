"""The models: one architecture per file, the file's name is its `arch`.

Contract. A file has two public things: `Config`, a pydantic block of the architecture's own keys, and
`build(config)`, which gives a torch.nn.Module. It takes (N, C, H, W) float, an image in [0, 1] plus
noise, any H and W, and returns the same shape, not clipped. It has an attribute `reach`: how many pixels
away an input pixel may be and still change an output pixel (None: anywhere), which sets the overlap
of tiles. A module with `noise_aware = True` also takes `sigma_255`, the noise level: a number, a tensor (N,) or
None, upon which it estimates the level of each image. One with `calibrated = True` is not trained but calibrated: see
classical.py. `adopts` and `label_aware`: see guided_unet.py.

One with `task = "classify"` is no denoiser: it gives logits (N, classes), and `features(x)` its maps, one a stage.

A file may also have `from_foreign(tensors)`, which brings the names of public weights files to its own.

What they share is in _layers.py. To add a model: one file here and one block in conf/model/.
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
LARGEST, LEVELS = 10_000, 100  # numbers of a block, and of a list in it: a card may come from strangers

__all__ = ["SCHEMES", "build", "check", "foreign_layout", "initialise", "known"]


def known() -> list[str]:
    """The architectures there are."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def build(block: dict[str, Any], where: str = "model") -> nn.Module:
    """The module a block such as {"arch": "resunet", "channels": 3, ...} describes, freshly initialised.

    ValueError names an unknown architecture, key or value behind `where`, and what is allowed.
    """
    module = _module(block.get("arch"), where)
    return module.build(_config(module, block, where))


def check(block: dict[str, Any], where: str) -> None:
    """Check a block without building its module. ValueError as `build`."""
    _config(_module(block.get("arch"), where), block, where)


def outline(block: dict[str, Any], where: str = "model") -> nn.Module:
    """The module of a block without memory for its weights: to ask for its attributes. ValueError as `build`."""
    with torch.device("meta"), _Unfilled():
        return build(block, where)


class _Unfilled(TorchFunctionMode):
    """Draws no normal numbers: for those of the meta device torch would import its compiler, which takes seconds."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def foreign_layout(arch: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None:
    """The architecture's `from_foreign`, if it has one."""
    return getattr(_module(arch, "model"), "from_foreign", None)


def _module(arch: Any, where: str) -> Any:
    if arch in RENAMED:
        raise UserError(f"{where}.arch: {arch!r} is now called {RENAMED[arch]!r}")
    if arch not in known():
        raise UserError(f"{where}.arch: {arch!r} is unknown; allowed: {', '.join(known())}")
    return importlib.import_module(f"denoiselab.architectures.{arch}")


def _config(module: Any, block: dict[str, Any], where: str) -> Any:
    own = {k: v for k, v in block.items() if k != "arch"}
    for key, value in own.items():
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > LEVELS or any(isinstance(number, int) and number > LARGEST for number in numbers):
            raise UserError(f"{where}.{key}: larger than any network: at most {LARGEST}, in lists of {LEVELS}")
    return check_block(module.Config, own, where=f"{where}.")
