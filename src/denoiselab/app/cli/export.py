"""denoiselab export: a network as an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from denoiselab.app.cli._options import AsJson, Force, check_free, model_names, need
from denoiselab.app.cli._output import report
from denoiselab.runtime.errors import UserError


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Name (see denoiselab models), path such as models/unet, or models:/name@alias.",
            autocompletion=model_names,
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to make.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a network as ONNX, for runtimes without Python or PyTorch.

    The file takes pictures of any size, and any number of them at once: input `noisy`, float32 (batch, channels,
    height, width), black 0 and white 1; output `restored`, of the same shape and not clipped. Networks that are told
    the noise level have a second input, `sigma_255`, a number for each picture (`denoiselab estimate` tells it).

    onnxruntime's result is compared with PyTorch's at three sizes; if they differ by more than 0.0001, nothing is
    written, and an old file stays. Name, licence, noise range and the sha256 of the weights are in the file's metadata.

    \b
    Examples:
      denoiselab export colour colour.onnx
      denoiselab export models/unet unet.onnx --json
    """
    check_free(out, force)
    if out.suffix.lower() != ".onnx":
        raise UserError(f"{out}: the file must end in .onnx")
    need("export", "onnx", "onnxscript", "onnxruntime")

    from denoiselab.app import denoisers, onnx_export

    denoiser = denoisers.load(model)
    entry = denoiser.entry
    done = onnx_export.export(denoiser.module, denoiser.channels, out, onnx_export.notes(entry, denoiser.module))
    lines = [
        f"{out}: {entry.name}, {done.parameters:,} parameters, {done.size / 1e6:.1f} MB, opset {done.opset}",
        *(f"  input {name}: {' x '.join(map(str, shape))}" for name, shape in done.inputs.items()),
        f"largest difference between onnxruntime and PyTorch ({onnx_export.BOUND:g} is allowed):",
        *(
            f"  {' x '.join(map(str, check.shape))} (batch, height, width): {check.difference:.1e}"
            for check in done.checks
        ),
    ]
    report("\n".join(lines), {"out": str(out), "name": entry.name, **done.values()}, as_json)
