"""Trained models on disk: models/<name>/ with model.json and best_<score>.safetensors for each score (psnr and ssim;
accuracy for classifiers)."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import nn

from denoiselab import architectures
from denoiselab.models import metadata
from denoiselab.models.metadata import read as read_card
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

__all__ = ["digest", "load", "parameters", "read_card", "save"]


def save(folder: Path, weights: dict[str, dict[str, torch.Tensor]], card: dict[str, Any]) -> None:
    """Write the weights by name, the default first, and the card (model.json).

    The card holds `architecture` (block for architectures.build), `adopted` (that of the classifier inside, or None)
    and the settings of the training.
    """
    for name, tensors in weights.items():
        with files.atomic_write(folder / f"{name}.safetensors") as temporary:
            temporary.write_bytes(serialize({k: v.contiguous() for k, v in tensors.items()}))
    metadata.write(folder, weights, card)


def digest(folder: Path) -> str:
    """SHA-256 of a trained model's files, without those of other seeds."""
    own_files = sorted(path for path in folder.iterdir() if path.is_file())
    return hashlib.sha256("".join(f"{path.name}\0{files.sha256(path)}\n" for path in own_files).encode()).hexdigest()


def load(folder: Path, weights: str | None = None) -> nn.Module:
    """Load a trained model in eval mode, on the CPU. `weights`, such as best_ssim; None: those of the best PSNR or
    accuracy. UserError names a file that is missing, damaged or does not fit."""
    card = read_card(folder)
    try:
        return _loaded(folder, card, weights)
    except (AttributeError, LookupError, TypeError) as error:
        raise UserError(f"{folder / metadata.CARD}: not the card of a model: {error!r}") from None


def _loaded(folder: Path, card: dict[str, Any], weights: str | None) -> nn.Module:
    """As `load`; AttributeError, LookupError or TypeError for an invalid card."""
    if weights is not None and weights not in card["weights"]:
        raise UserError(f"weights: {weights!r} is unknown; choose from: {', '.join(card['weights'])} ({folder})")
    path = metadata.weights(folder, card, weights)
    try:
        tensors = load_file(path)
        _check_shapes(_assembled(card, architectures.outline, folder), tensors)
        model = _assembled(card, architectures.build, folder)
        for name, buffer in list(model.named_buffers()):
            if name in tensors and buffer.shape != tensors[name].shape:  # number of levels of a calibration
                model.register_buffer(name, torch.empty_like(tensors[name]))
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be loaded: {one_line(error)}") from None
    return model.eval()


def _assembled(card: dict[str, Any], make: Callable[..., nn.Module], folder: Path) -> nn.Module:
    """The module described by a card, made by architectures.build or architectures.outline."""
    model = make(card["architecture"], where=str(folder))
    if card["adopted"]:
        model.adopt(make(card["adopted"], where=str(folder)))  # type: ignore[operator]
    return model


def _check_shapes(outline: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """RuntimeError if the shapes do not fit, before an untrusted card allocates more memory than its weights need."""
    wrong = [n for n, p in outline.named_parameters() if n not in tensors or tensors[n].shape != p.shape]
    if wrong:
        raise RuntimeError(f"does not match {metadata.CARD}: {', '.join(wrong[:3])}{' ...' * (len(wrong) > 3)}")


def parameters(model: nn.Module) -> int:
    """Number of trainable parameters, without those of an adopted (frozen) classifier."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
