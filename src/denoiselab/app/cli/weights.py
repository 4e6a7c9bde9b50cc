"""denoiselab weights: recognise a weights file."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoiselab.app.cli._options import AsJson
from denoiselab.app.cli._output import report
from denoiselab.runtime.errors import UserError

if TYPE_CHECKING:
    import torch

SHOWN = 8  # tensors of an unknown network
UNKNOWN = """# Not in the file: its source and licence, and the noise that the network was trained on.
# noise: {kind: gaussian, sigma_255: 25, per_channel: true, clip: false, quantise: false}
# published: [DnCNN-S]    # methods of src/denoiselab/comparison/published.csv to compare with
"""


def weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights file: .safetensors, or written by torch.save.")],
    as_json: AsJson = False,
) -> None:
    """Recognise the network in a weights file, and print its entry for conf/model/NAME.yaml.

    The architecture and its settings are read from the names and shapes of the tensors. Published layouts of DnCNN,
    FFDNet, DRUNet, NAFNet and WINNet are known, and those of the library spandrel if it is installed. Code in the file
    is never run. For an unknown network, its tensors are listed, and the exit code is 1.

    \b
    Examples:
      denoiselab weights dncnn_25.pth
      denoiselab weights net.safetensors --json
    """
    from denoiselab.models import pretrained
    from denoiselab.runtime import files

    tensors = pretrained.read(file)
    values = sum(tensor.numel() for tensor in tensors.values())
    block, spandrel = _block(tensors)
    if block:
        block |= {"weights": str(file), "sha256": files.sha256(file)}
        text = _entry(file, f"{spandrel or block['arch']}, {len(tensors)} tensors, {values:,} values", block)
    else:
        text = _listing(file, tensors, values, spandrel)
    found = {"file": str(file), "tensors": {name: [*tensor.shape] for name, tensor in tensors.items()}}
    report(text, found | {"values": values, "block": block}, as_json)
    if not block:
        raise typer.Exit(1)


def _block(tensors: "dict[str, torch.Tensor]") -> tuple[dict[str, Any] | None, str]:
    """Block of conf/model/ without the file, or None, and what spandrel says: its name of the network, or an error."""
    from denoiselab import architectures
    from denoiselab.architectures import spandrel
    from denoiselab.models import pretrained

    if found := pretrained.recognise(tensors):
        usual = architectures.defaults(found["arch"])
        stated = {key: value for key, value in found.items() if key not in usual or value != usual[key]}
        return {"arch": found["arch"], "needs": "data/patches"} | stated, ""
    try:
        described = spandrel.describe(pretrained.bare(tensors))
    except UserError as error:
        return None, str(error)
    if described.scale != 1 or described.input_channels not in (1, 3):
        return None, f"arch spandrel: {described.architecture.name} with these weights is no denoiser"
    block = {"arch": "spandrel", "needs": "data/patches", "channels": described.input_channels}
    return block, f"{described.architecture.name} of the library spandrel"


def _entry(file: Path, what: str, block: dict[str, Any]) -> str:
    """Text of conf/model/NAME.yaml, with what the file cannot tell as comments."""
    from denoiselab import architectures
    from denoiselab.config import yaml_files

    name = re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower()).strip("_-") or "published"
    assumed = [key for key in architectures.defaults(block["arch"]) if key not in block]
    note = f"# Not stated, so as usual: {', '.join(assumed)}\n" if assumed else ""
    return yaml_files.text(name, what, block) + note + UNKNOWN


def _listing(file: Path, tensors: "dict[str, torch.Tensor]", values: int, spandrel: str) -> str:
    """What is in a file of an unknown network, and the ways on."""
    first = [f"  {name}: {' x '.join(map(str, t.shape)) or 'a number'}" for name, t in [*tensors.items()][:SHOWN]]
    more = [f"  and {len(tensors) - SHOWN} more"] if len(tensors) > SHOWN else []
    return "\n".join(
        [
            f"{file}: no known network; {len(tensors)} tensors, {values:,} values:",
            *first,
            *more,
            spandrel,
            "to add the network: one file in src/denoiselab/architectures, see docs/published-weights.md",
        ]
    )
