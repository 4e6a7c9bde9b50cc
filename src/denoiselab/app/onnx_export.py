"""Export a restoring network to ONNX, for any batch, height and width, and check it against onnxruntime.

Traced by torch.export, without TorchScript. Needs the packages of requirements-tools.txt.
"""

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import nn

from denoiselab.app import denoisers
from denoiselab.models import model_store
from denoiselab.runtime import files, seeding
from denoiselab.runtime.errors import UserError

BOUND = 1e-4  # of the range of an image: a fortieth of an 8-bit level
EXAMPLE = (2, 40, 56)  # batch, height and width that the network is traced with
SHAPES = ((1, 64, 96), (2, 37, 51), (1, 129, 90))  # those it is checked with
SIGMA_255 = 25.0  # that the checks tell a noise-aware network

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Check:
    """Largest absolute difference from PyTorch for a (batch, height, width)."""

    shape: Shape
    difference: float


@dataclass(frozen=True)
class Exported:
    """What is in the file: the inputs' names and shapes, and how it did in the check."""

    inputs: dict[str, list[int | str]]
    opset: int
    size: int  # bytes
    parameters: int
    checks: list[Check]

    def values(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"bound": BOUND}


def export(module: nn.Module, channels: int, path: Path, notes: Mapping[str, str]) -> Exported:
    """Write `module` to `path`: noisy (N, C, H, W) float32 in, restored out, of the same shape and not clipped.

    A noise-aware module has a second input, sigma_255 (N,) float32; a label-aware one label (N,) int64. `notes` become
    the file's metadata. ValueError where the module restores nothing or is no network, or where onnxruntime's result
    differs from PyTorch's by more than BOUND: then `path` stays as it was.
    """
    _refuse_others(module)
    module.eval()
    with files.replacing(path) as temporary, torch.no_grad():
        program = _program(module, channels)
        model = _tidied(program.model_proto, notes)
        content = model.SerializeToString()
        temporary.write_bytes(content)
        checks = list(_checks(module, channels, temporary))
        wrong = [check for check in checks if not check.difference <= BOUND]  # which NaN is not, either
        if wrong:
            worst = max(wrong, key=lambda check: check.difference)
            size = "x".join(map(str, worst.shape))
            kept = "stays as it was" if path.exists() else "not written"
            raise UserError(
                f"{path}: {kept}: onnxruntime's result differs from PyTorch's by {worst.difference:.1e} at {size} "
                f"(batch, height, width); {BOUND:.0e} is allowed"
            )
    inputs = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    return Exported(inputs, model.opset_import[0].version, len(content), model_store.parameters(module), checks)


def notes(entry: denoisers.Entry, module: nn.Module) -> dict[str, str]:
    """What a file says of a denoiser: name, title, licence, noise and range of levels, sha256 of the weights."""
    known = {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence or "not stated",
        "noise": entry.noise,
        "sigma_255": "{:g} to {:g}".format(*entry.levels) if entry.levels else "",
        "channels": "RGB, 0 to 1" if entry.channels == 3 else "gray, 0 to 1",
        "weights_sha256": weights_sha256(module),
    }
    return {key: value for key, value in known.items() if value}


def weights_sha256(module: nn.Module) -> str:
    """Of the weights as safetensors, which is that of the weights' file of a trained or released model."""
    return hashlib.sha256(serialize({k: v.contiguous() for k, v in module.state_dict().items()})).hexdigest()


def _refuse_others(module: nn.Module) -> None:
    if getattr(module, "task", "restore") != "restore":
        raise UserError("a classifier restores nothing: only networks that restore images are exported")
    if getattr(module, "calibrated", False):
        raise UserError("a classical method is no network: there is nothing to export; run it with denoiselab denoise")


def _inputs(module: nn.Module, channels: int, shape: Shape) -> dict[str, torch.Tensor]:
    """What the module takes, by name: the same numbers for the same shape."""
    batch, height, width = shape
    generator = seeding.generator("onnx", *shape)
    inputs = {"noisy": torch.rand((batch, channels, height, width), generator=generator)}
    if getattr(module, "noise_aware", False):
        inputs["sigma_255"] = torch.full((batch,), SIGMA_255)
    elif getattr(module, "label_aware", False):
        inputs["label"] = torch.arange(batch)
    return inputs


def _program(module: nn.Module, channels: int) -> Any:
    inputs = _inputs(module, channels, EXAMPLE)
    free = torch.export.Dim.DYNAMIC
    sizes = [{0: free, 2: free, 3: free} if value.ndim == 4 else {0: free} for value in inputs.values()]
    with _quiet():
        traced = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=tuple(sizes))
        traced = traced.run_decompositions({torch.ops.aten.adaptive_avg_pool2d.default: mean_of_cells})
        return torch.onnx.export(
            traced, input_names=list(inputs), output_names=["restored"], dynamo=True, verbose=False
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that are not installed and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def mean_of_cells(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """F.adaptive_avg_pool2d of (N, C, H, W) as two products of matrices, for torch's own ties an export to one size."""
    rows, columns = (_weights(x, side, cells) for side, cells in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ columns.transpose(0, 1)


def _weights(x: torch.Tensor, side: int, cells: int) -> torch.Tensor:
    """(cells, side): each cell's share of every pixel along a side. Cells overlap where they do not divide it."""
    cell = torch.arange(cells, device=x.device)
    first, behind = cell * side // cells, -((cell + 1) * side // -cells)
    pixel = torch.arange(side, device=x.device)
    inside = (pixel >= first[:, None]) & (pixel < behind[:, None])
    return inside.to(x.dtype) / (behind - first).to(x.dtype)[:, None]


def _tidied(model: Any, notes: Mapping[str, str]) -> Any:
    """Sizes by name, notes as metadata, and none of the exporter's traces, which name folders of this machine."""
    import onnx

    names = ("batch", None, "height", "width")
    for value in (*model.graph.input, *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if name:
                dimension.dim_param = name
    del model.graph.value_info[:]  # sizes in between, by the names that were replaced
    graphs = [model.graph, *model.functions]
    for part in (*graphs, *(node for graph in graphs for node in graph.node), *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for tensor in model.graph.initializer:
        tensor.ClearField("metadata_props")
    onnx.helper.set_model_props(model, dict(notes))
    onnx.checker.check_model(model)
    return model


def _checks(module: nn.Module, channels: int, path: Path) -> Iterator[Check]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for shape in SHAPES:
        inputs = _inputs(module, channels, shape)
        expected = module(*inputs.values())
        found = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])
        same = found.shape == expected.shape
        yield Check(shape, (found - expected).abs().max().item() if same else float("inf"))
