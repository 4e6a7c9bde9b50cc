"""What a net does with an image, found by running it: its layers in the order they run, and what flows between them.

Every torch function of one forward pass is recorded with its inputs. Layers become units: a convolution with the norm
and activation behind it, a block of the project's own (ResidualBlock, say), a join of two flows. Nothing is drawn here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

SUFFIXES = {
    "batch_norm": "BatchNorm",
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "dropout": "dropout",
}
JOINS = {"add": "+", "sub": "−", "mul": "×", "cat": "C"}
WORDS = {"+": "sum", "−": "difference", "×": "product", "C": "concatenation"}
POOLS = {
    "max_pool2d": "max pooling",
    "adaptive_avg_pool2d": "means of cells",
    "mean": "mean over the image",
    "interpolate": "bilinear resize",
    "pixel_shuffle": "pixel shuffle",
    "pixel_unshuffle": "pixel unshuffle",
}


@dataclass
class Unit:
    """A layer with what belongs to it, a block, a join, or an input."""

    kind: str  # input, layer, block or join
    parts: list[str]  # of its label
    module: str  # dotted name of the first module in it
    shape: tuple[int, ...]  # of its output, without the batch: (C, H, W) or (C,)
    inputs: list["Unit"] = field(default_factory=list)
    parameters: int = 0
    repeat: int = 1
    container: str = ""
    net: nn.Module | None = None  # of a block
    example: torch.Tensor | None = None  # its input

    @property
    def label(self) -> str:
        return ", ".join(self.parts)

    @property
    def height(self) -> int | None:
        return self.shape[1] if len(self.shape) == 3 else None


def trace(net: nn.Module, *inputs: tuple[str, torch.Tensor]) -> list[Unit]:
    """The units in the order they run: the named inputs first, the one whose output is the net's last.

    Their parameters add up to the net's, or an AssertionError says by how much they do not.
    """
    recorder = _Recorder(net, inputs)
    with torch.no_grad(), recorder:
        output = net(*(tensor for _, tensor in inputs))
    recorder.close()
    units = _merged(_reached(recorder.unit_of(output)))
    drawn, there = sum(unit.parameters for unit in units), sum(p.numel() for p in net.parameters())
    assert drawn == there, f"{drawn} of {there} parameters are in the units"
    return units


class _Recorder(TorchFunctionMode):
    def __init__(self, net: nn.Module, inputs: Sequence[tuple[str, torch.Tensor]]):
        super().__init__()
        self._scope: list[tuple[str, nn.Module]] = []
        self._units: dict[int, Unit] = {}  # by the id of the tensor they gave
        self._blocks: dict[str, Unit] = {}
        self._alive: list[Any] = []  # ids stay unique
        self._counted: set[int] = set()  # ids of parameters
        self._net = net
        self._hooks = [hook for name, module in net.named_modules() for hook in self._watched(name, module)]
        for name, tensor in inputs:
            self._units[id(tensor)] = Unit("input", [name], "", tuple(tensor.shape[1:]))

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def unit_of(self, tensor: torch.Tensor) -> Unit:
        return self._units[id(tensor)]

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [value for value in _flat((*args, *(kwargs or {}).values())) if isinstance(value, torch.Tensor)]
        known = list({id(unit): unit for tensor in tensors if (unit := self._units.get(id(tensor)))}.values())
        outputs = [value for value in _flat((result,)) if isinstance(value, torch.Tensor)]
        if known and outputs and not isinstance(outputs[0], nn.Parameter):
            unit = self._placed(function.__name__.strip("_"), args, kwargs or {}, known, outputs[0])
            new = [t for t in tensors if isinstance(t, nn.Parameter) and id(t) not in self._counted]
            unit.parameters += sum(parameter.numel() for parameter in new)
            self._counted |= {id(parameter) for parameter in new}
            self._alive += [tensors, outputs]
            self._units |= {id(output): unit for output in outputs}
        return result

    def _placed(self, name: str, args: Any, kwargs: Any, known: list[Unit], output: torch.Tensor) -> Unit:
        """The unit that the function's result belongs to: a new one, or that of its input."""
        shape, here = tuple(output.shape[1:]), self._scope[-1][0] if self._scope else ""
        container = here.rpartition(".")[0]
        if block := next(((n, m) for n, m in self._scope if n and _is_own(m)), None):
            return self._in_block(*block, known, shape)
        if len(known) > 1:
            sign = JOINS[name]
            return Unit("join", [sign], here, shape, known)
        (before,) = known
        layer = _layer(name, args, kwargs, output)
        if layer is None and name not in SUFFIXES:
            before.shape = shape if len(shape) == 3 and name == "unflatten" else before.shape
            return before
        if before.kind == "layer" and (
            name in SUFFIXES or (name == "pixel_shuffle" and container and container == before.container)
        ):
            before.parts.append(SUFFIXES.get(name) or str(layer))
            before.shape = shape
            return before
        return Unit("layer", [layer or SUFFIXES[name]], here, shape, known, container=container)

    def _in_block(self, name: str, module: nn.Module, known: list[Unit], shape: tuple[int, ...]) -> Unit:
        if name not in self._blocks:
            weights = list(module.parameters())
            frozen = ["frozen"] if weights and not any(w.requires_grad for w in weights) else []
            self._blocks[name] = Unit("block", [type(module).__name__, *frozen], name, shape, [], net=module)
        unit = self._blocks[name]
        unit.inputs += [u for u in known if u is not unit and u not in unit.inputs]
        unit.shape = shape
        return unit

    def _watched(self, name: str, module: nn.Module) -> list[Any]:
        def enter(module: nn.Module, args: Any) -> None:
            self._scope.append((name, module))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self._scope.pop()
            if name in self._blocks:
                self._blocks[name].example = args[0].detach().clone()

        return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def _is_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("denoiselab.")


def _layer(name: str, args: Any, kwargs: Any, output: torch.Tensor) -> str | None:
    """How a layer is called; None for what is none."""
    if name in ("conv2d", "conv_transpose2d"):
        weight, stride = args[1], args[3] if len(args) > 3 else (1, 1)
        step = stride[0] if isinstance(stride, tuple) else stride
        depthwise = name == "conv2d" and weight.shape[1] == 1 and weight.shape[0] > 1 and args[6] > 1
        kind = (
            "depthwise convolution" if depthwise else "transposed convolution" if "transpose" in name else "convolution"
        )
        return f"{weight.shape[-1]}×{weight.shape[-1]} {kind}{f' of stride {step}' if step > 1 else ''}"
    if name == "linear":
        return "linear layer"
    if name == "max_pool2d":
        size, stride = args[1], kwargs["stride"] if "stride" in kwargs else args[2]
        return f"{size}×{size} max pooling{f' of stride {stride}' if stride != size else ''}"
    if name == "adaptive_avg_pool2d":
        return f"means of {output.shape[-2]}×{output.shape[-1]} cells"
    return POOLS.get(name)


def _reached(last: Unit) -> list[Unit]:
    """All units that the last one depends on, itself included, every one after its inputs."""
    order: list[Unit] = []

    def visit(unit: Unit) -> None:
        for before in unit.inputs:
            visit(before)
        if not any(unit is other for other in order):
            order.append(unit)

    visit(last)
    return order


def _merged(units: list[Unit]) -> list[Unit]:
    """Equal units in a row as one that is repeated; concatenations of concatenations as one."""
    for unit in list(units):
        for before in list(unit.inputs):
            alone = sum(before is other for u in units for other in u.inputs) == 1
            if alone and unit.kind == before.kind == "join" and unit.parts == before.parts == ["C"]:
                _absorb(units, unit, before, [u for u in unit.inputs if u is not before] + before.inputs)
            elif alone and len(unit.inputs) == 1 and _alike(unit, before):
                unit.repeat, unit.module = unit.repeat + before.repeat, before.module
                unit.parameters += before.parameters
                unit.example, unit.net = before.example, before.net
                _absorb(units, unit, before, before.inputs)
    return units


def _alike(one: Unit, other: Unit) -> bool:
    return (
        one.kind == other.kind != "join"
        and one.parts == other.parts
        and one.shape == other.shape
        and (one.kind == "block" or len(one.shape) == 3)
    )


def _absorb(units: list[Unit], unit: Unit, before: Unit, inputs: list[Unit]) -> None:
    unit.inputs = inputs
    units[:] = [other for other in units if other is not before]


def _flat(values: Any) -> list[Any]:
    found = []
    for value in values:
        found += _flat(value) if isinstance(value, tuple | list) else [value]
    return found


def consumers(units: list[Unit], unit: Unit) -> list[Unit]:
    """Who takes what it gives."""
    return [other for other in units if any(unit is before for before in other.inputs)]
