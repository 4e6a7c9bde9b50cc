"""Metadata of a trained model (model.json): architecture, weights files, training. Does not import torch."""

from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

from denoiselab.runtime import files, sealed_json
from denoiselab.runtime.errors import UserError

CARD = "model.json"
CLASSICAL = ("bm3d", "classical")  # architectures that are methods without training
KIND = sealed_json.Kind(range(2, 4), sealed=3)
REMEDY = "train it again, or restore it from Git or DVC's cache"


def write(folder: Path, weights: Iterable[str], card: dict[str, Any]) -> None:
    """Write model.json; `weights`: names of the weights files in `folder`, without suffix, the default first."""
    digests = {name: files.sha256(_file(folder, name)) for name in weights}
    KIND.write(folder / CARD, {"weights": digests, **card})


def read(folder: Path) -> dict[str, Any]:
    """Content of model.json, `weights` with the SHA-256 of each file (None in format 2). UserError if it is missing,
    damaged or of an unsupported format."""
    card = KIND.read(folder / CARD, REMEDY)
    weights = card.get("weights")
    if not weights or not isinstance(weights, (dict, list)) or not all(isinstance(name, str) for name in weights):
        raise UserError(f"{folder / CARD}: lists no weights; {REMEDY}")
    return card | {"weights": weights if isinstance(weights, dict) else dict.fromkeys(weights)}


def weights(folder: Path, card: dict[str, Any], name: str | None = None) -> Path:
    """File of the weights `name` (None: the default). UserError if it is missing, damaged or changed."""
    name = name or next(iter(card["weights"]))
    return sealed_json.verify(_file(folder, name), card["weights"][name], REMEDY)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{PurePath(name).name}.safetensors"  # inside this folder, whatever the card says
