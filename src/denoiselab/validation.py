"""Scores on the stored validation patches: what chooses weights and calibrates strengths. Never the test images."""

from collections import defaultdict
from pathlib import Path

import torch
from torch import nn

from denoiselab import conditions, inference, metrics

BATCH_PIXELS = 2**19  # in one forward pass
HIGHEST_PSNR = 100.0  # dB; that of a patch that comes out exactly, which would be infinite


class Validation:
    """Mean PSNR and SSIM over the validation patches of every stored condition."""

    def __init__(self, noisy_root: Path, patch_folder: Path, limit: int | None, device: torch.device):
        self.sets = []
        for name in conditions.names(noisy_root):
            pair = conditions.validation(noisy_root, patch_folder, name, limit)
            clean, noisy = (torch.from_numpy(array).permute(0, 3, 1, 2).contiguous() for array in pair)
            level = conditions.read(noisy_root, name).sigma_255
            self.sets.append((level, clean.to(device).float().div(255), noisy.to(device)))

    @property
    def levels(self) -> list[float]:
        """The noise levels of the conditions, each once, in 8-bit units."""
        return list(dict.fromkeys(level for level, _, _ in self.sets))

    @torch.inference_mode()
    def __call__(self, model: nn.Module, only: float | None = None) -> dict[str, float]:
        """{"psnr", "ssim"} of the outputs clamped to [0, 1], over all conditions or those of the level `only`."""
        model.eval()
        scores: dict[str, list[torch.Tensor]] = defaultdict(list)
        for level, clean, noisy in self.sets:
            if only is not None and level != only:
                continue
            batch = max(1, BATCH_PIXELS // (clean.shape[-1] * clean.shape[-2]))
            for start in range(0, len(clean), batch):
                target = clean[start : start + batch]
                restored = inference.forward(model, noisy[start : start + batch], level).clamp(0, 1)
                scores["psnr"].append(metrics.batch_psnr(target, restored).clamp(max=HIGHEST_PSNR))
                scores["ssim"].append(metrics.batch_ssim(target, restored))
        return {name: torch.cat(values).mean().item() for name, values in scores.items()}
