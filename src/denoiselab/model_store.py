"""A trained model on disk: models/<name>/ with best_psnr.safetensors, best_ssim.safetensors and model.json."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import nn

from denoiselab import files, models

FORMAT = 1  # of model.json
WEIGHTS = ("best_psnr", "best_ssim")


def save(folder: Path, weights: dict[str, dict[str, torch.Tensor]], card: dict[str, Any]) -> None:
    """Write the two sets of weights and the card: `architecture` as models.build() takes it, and how it was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in WEIGHTS:
        with files.replacing(folder / f"{name}.safetensors") as temporary:
            temporary.write_bytes(serialize({k: v.contiguous() for k, v in weights[name].items()}))
    files.write_json(folder / "model.json", {"format": FORMAT, **card})


def read_card(folder: Path) -> dict[str, Any]:
    """model.json of a trained model. ValueError where it is missing, damaged or of another format."""
    card = files.read_json(folder / "model.json")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ValueError(f"{folder / 'model.json'}: not of format {FORMAT}, which this version reads")
    return card


def load(folder: Path, weights: str = "best_psnr") -> nn.Module:
    """The trained module in eval mode, on the CPU. ValueError names a file that is missing or does not fit."""
    if weights not in WEIGHTS:
        raise ValueError(f"weights: {weights!r} is unknown; allowed: {', '.join(WEIGHTS)}")
    model = models.build(read_card(folder)["architecture"], where=str(folder))
    path = folder / f"{weights}.safetensors"
    try:
        tensors = load_file(path)
        for name, buffer in list(model.named_buffers()):
            if (
                name in tensors and buffer.shape != tensors[name].shape
            ):  # a calibration has as many levels as it was given
                model.register_buffer(name, torch.empty_like(tensors[name]))
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: cannot be loaded: {error}") from None
    return model.eval()


def parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
