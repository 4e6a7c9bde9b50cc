"""Export a restoring network to ONNX, for any batch, height and width, and check it against onnxruntime.

Traced by torch.export, without TorchScript. Needs the packages of requirements/onnx.txt.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from denoiselab.app import denoisers
from denoiselab.models import model_store
from denoiselab.runtime import files, seeding
from denoiselab.runtime.errors import UserError

BOUND = 1e-4  # largest difference allowed, of the image's range: a fortieth of an 8-bit level
EXAMPLE = (2, 40, 56)  # batch, height and width for tracing
SHAPES = ((1, 64, 96), (2, 37, 51), (1, 129, 90))  # for the comparison
SIGMA_255 = 25.0  # noise level for the comparison

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Check:
    """Largest absolute difference from PyTorch at one (batch, height, width)."""

    shape: Shape
    difference: float


@dataclass(frozen=True)
class Exported:
    """Facts about the exported file: input names and shapes, size, and the comparison with PyTorch."""

    inputs: dict[str, list[int | str]]
    opset: int
    size: int  # bytes
    parameters: int
    checks: list[Check]

    def values(self) -> dict[str, Any]:
        """As a dictionary for JSON."""
        return asdict(self) | {"bound": BOUND}


def export(module: nn.Module, channels: int, path: Path, notes: Mapping[str, str]) -> Exported:
    """Write `module` to `path`: input noisy (N, C, H, W) float32, output restored, of the same shape and not clipped.

    A noise-aware module has a second input sigma_255 (N,) float32, a label-aware one label (N,) int64. `notes` become
    the file's metadata. UserError if the module is a classifier or a classical method, or if onnxruntime and PyTorch
    differ by more than BOUND; `path` is then left unchanged.
    """
    _refuse_others(module)
    module.eval()
    with files.atomic_write(path) as temporary, torch.no_grad():
        program = _program(module, channels)
        model = _tidied(program.model_proto, notes)
        content = model.SerializeToString()
        temporary.write_bytes(content)
        checks = list(_checks(module, channels, temporary))
        wrong = [check for check in checks if not check.difference <= BOUND]  # also NaN
        if wrong:
            worst = max(wrong, key=lambda check: check.difference)
            size = "x".join(map(str, worst.shape))
            state = "left unchanged" if path.exists() else "not written"
            raise UserError(
                f"{path}: {state}; onnxruntime and PyTorch differ by {worst.difference:.1e} at {size} "
                f"(batch, height, width), the limit is {BOUND:.0e}"
            )
    inputs = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    return Exported(inputs, model.opset_import[0].version, len(content), model_store.parameters(module), checks)


def notes(denoiser: denoisers.Denoiser) -> dict[str, str]:
    """Metadata of the file: name, title, licence, noise and range of levels, sha256 of the weights file."""
    entry = denoiser.entry
    known = {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence or "not stated",
        "noise": entry.noise,
        "sigma_255": "{:g} to {:g}".format(*entry.levels) if entry.levels else "",
        "channels": "RGB, 0 to 1" if entry.channels == 3 else "gray, 0 to 1",
        "weights_sha256": denoiser.weights_sha256,
    }
    return {key: value for key, value in known.items() if value}


def _refuse_others(module: nn.Module) -> None:
    if getattr(module, "task", "restore") != "restore":
        raise UserError("only networks that restore images can be exported; this is a classifier")
    if getattr(module, "classical", False):
        raise UserError("only networks can be exported; run classical methods with denoiselab denoise")


def _inputs(module: nn.Module, channels: int, shape: Shape) -> dict[str, torch.Tensor]:
    """Inputs by name, random but reproducible for each shape."""
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
    """Silence the exporter's messages about optional packages and deprecations."""
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
    """F.adaptive_avg_pool2d of (N, C, H, W) as two matrix products; torch's own fixes the exported size."""
    rows, columns = (_weights(x, side, cells) for side, cells in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ columns.transpose(0, 1)


def _weights(x: torch.Tensor, side: int, cells: int) -> torch.Tensor:
    """Averaging matrix (cells, side) along one side. Cells overlap where `cells` does not divide `side`."""
    cell = torch.arange(cells, device=x.device)
    start, end = cell * side // cells, -((cell + 1) * side // -cells)
    pixel = torch.arange(side, device=x.device)
    inside = (pixel >= start[:, None]) & (pixel < end[:, None])
    return inside.to(x.dtype) / (end - start).to(x.dtype)[:, None]


def _tidied(model: Any, notes: Mapping[str, str]) -> Any:
    """Name the dimensions, add the notes, and remove the exporter's stack traces, which contain local paths."""
    import onnx

    names = ("batch", None, "height", "width")
    for value in (*model.graph.input, *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if name:
                dimension.dim_param = name
    del model.graph.value_info[:]  # they use the replaced names
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
