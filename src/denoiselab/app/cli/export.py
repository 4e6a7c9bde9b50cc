"""denoiselab export: write a network as an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from denoiselab.app.cli._options import AsJson, Force, Model, Quality, check_free, need
from denoiselab.app.cli._output import report
from denoiselab.runtime.errors import UserError


def export(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="File to write.")],
    quality: Quality = "best",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a network as ONNX, for runtimes without Python or PyTorch.

    The input `noisy` is float32 (batch, channels, height, width) of any size, black 0 and white 1. The output
    `restored` has the same shape and is not clipped. Networks that need the noise level have a second input,
    `sigma_255`, with one value per image (see denoiselab estimate).

    Results of onnxruntime and PyTorch are compared at three sizes. If they differ by more than 0.0001, nothing is
    written. Name, licence, noise range and the sha256 of the weights are stored in the file's metadata.

    \b
    Examples:
      denoiselab export colour colour.onnx
      denoiselab export models/unet unet.onnx --json
    """
    check_free(out, force)
    if out.suffix.lower() != ".onnx":
        raise UserError(f"{out}: the file name must end in .onnx")
    need("export", "onnx", "onnx", "onnxscript", "onnxruntime")

    from denoiselab.app import denoisers, onnx_export

    denoiser = denoisers.load(model, quality=quality)
    entry = denoiser.entry
    exported = onnx_export.export(denoiser.module, denoiser.channels, out, onnx_export.notes(denoiser))
    lines = [
        f"{out}: {entry.name}, {exported.parameters:,} parameters, "
        f"{exported.size / 1e6:.1f} MB, opset {exported.opset}",
        *(f"  input {name}: {' x '.join(map(str, shape))}" for name, shape in exported.inputs.items()),
        f"largest difference between onnxruntime and PyTorch (limit {onnx_export.BOUND:g}):",
        *(
            f"  {' x '.join(map(str, check.shape))} (batch, height, width): {check.difference:.1e}"
            for check in exported.checks
        ),
    ]
    report("\n".join(lines), {"out": str(out), "name": entry.name, **exported.values()}, as_json)
