"""Published weights: safe reading without executing pickled code, conversion to our layouts, recognition."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from denoiselab import architectures
from denoiselab.architectures import Tensors
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

# Keys under which training codes store the weights, averaged ones first, and prefixes of wrappers.
CONTAINERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "netG", "generator")
PARALLEL = ("module.", "netG.", "_orig_mod.")
WRAPPERS = (*PARALLEL, "model.", "net.")
NESTED = 4  # containers in one another, at most
SHOWN = 3  # names in a message
MISFITS = (LookupError, RuntimeError, TypeError, ValueError)  # names, shapes or settings that no network has


def load_weights(model: nn.Module, block: dict[str, Any], path: Path) -> None:
    """Load a weights file into `model`, a new module built from `block` (arch and its settings).

    .safetensors, or plain tensors saved by torch.save (`weights_only`), in our layout or one that the architecture
    converts. UserError names a file that cannot be read, holds anything but tensors, or does not fit, in the words of
    the settings if they can be told.
    """
    tensors, arch = read(path), block["arch"]
    if getattr(model, "from_weights", False):
        try:
            model.load_state_dict(bare(tensors))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        return
    converted = {"own": tensors, "published": _converted(arch, tensors)}
    wrong = {name: _mismatch(model, found) for name, found in converted.items()}
    fitting = next((found for name, found in converted.items() if not wrong[name]), None)
    if fitting is None:
        raise UserError(f"{path}: does not fit {arch}: {_difference(tensors, block) or wrong['published']}")
    model.load_state_dict(fitting, strict=False)


def recognise(tensors: Tensors) -> dict[str, Any] | None:
    """The block (arch and its settings) of the architecture that has exactly these tensors, or None.

    Settings that do not show in the tensors, such as an activation, are left out.
    """
    for arch in architectures.known():
        block = _block(arch, _converted(arch, tensors))
        if block:
            return block
    return None


def bare(tensors: Tensors) -> Tensors:
    """The tensors without the prefixes of parallel and compiled training."""
    return _without(tensors, PARALLEL)


def read(path: Path) -> Tensors:
    """Tensors of a weights file by name. UserError if it holds anything else."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: not found") from None
    except Exception as error:  # noqa: BLE001  (torch.load raises various errors for damaged files)
        wanted = "a file of plain tensors, as torch.save(net.state_dict(), ...) writes"
        raise UserError(f"{path}: not {wanted}: {one_line(error)}") from None
    for _ in range(NESTED):  # a file may contain itself
        held = content if isinstance(content, dict) else {}
        content = next((held[key] for key in CONTAINERS if isinstance(held.get(key), dict)), content)
    if not _are_named_tensors(content):
        raise UserError(f"{path}: not a mapping of names to tensors")
    return content


def _are_named_tensors(content: Any) -> bool:
    """Whether it is a mapping of names to tensors, and not empty."""
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in content.items())


def _without(tensors: Tensors, prefixes: tuple[str, ...]) -> Tensors:
    """The tensors, less the prefixes that all names share."""
    while prefix := next((p for p in prefixes if tensors and all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _converted(arch: str, tensors: Tensors) -> Tensors:
    """The tensors without wrappers, in our layout if the architecture converts theirs."""
    bare, layout = _without(tensors, WRAPPERS), architectures.foreign_layout(arch)
    try:
        return layout(bare) if layout else bare
    except MISFITS:
        return bare


def _block(arch: str, tensors: Tensors) -> dict[str, Any] | None:
    """The block of this architecture that has exactly these tensors, or None."""
    find = architectures.recogniser(arch)
    try:
        settings = find(tensors) if find else None
        block = {"arch": arch, **settings} if settings else None
        return block if block and not _mismatch(architectures.outline(block), tensors) else None
    except MISFITS:
        return None


def _mismatch(model: nn.Module, tensors: Tensors) -> str:
    """How the tensors differ from those of the model; empty if they fit."""
    expected = model.state_dict()
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - tensors.keys() - optional)
    unknown = sorted(tensors.keys() - expected.keys())
    wrong = sorted(n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape)
    for what, names in (("lacks", missing), ("unknown:", unknown), ("wrong shapes:", wrong)):
        if names:
            return f"{what} {', '.join(names[:SHOWN])}{' ...' * (len(names) > SHOWN)}"
    return ""


def _difference(tensors: Tensors, block: dict[str, Any]) -> str:
    """How the settings of these weights differ from the block; empty if they cannot be told."""
    found = recognise(tensors)
    if not found:
        return ""
    if found["arch"] != block["arch"]:
        return f"these weights are of arch {found['arch']}"
    wanted = {"arch": block["arch"], **architectures.settings(block)}
    different = {key: value for key, value in found.items() if value != wanted[key]}
    these, those = (", ".join(f"{k} {_yaml(source[k])}" for k in different) for source in (found, wanted))
    return f"these weights are of {these}; the settings say {those}" if different else ""


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
