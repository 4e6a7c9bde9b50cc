"""Scores on the validation patches, for selecting weights and strengths; test images are never used for that."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from denoiselab.config.noise import NoiseSpec
from denoiselab.data import noise_sampling, noisy_sets
from denoiselab.imaging import depths
from denoiselab.metrics import batched, image_quality, no_reference
from denoiselab.models import tiled_inference
from denoiselab.runtime import distributed
from denoiselab.runtime.errors import UserError

BATCH_PIXELS = 2**19  # in one forward pass
PREVIEWS = 4  # patches in the previews of a training run


class Part(NamedTuple):
    """Validation patches under one noise condition."""

    level: float  # noise level, of 255
    clean: torch.Tensor  # (N, C, H, W) float32 in [0, 1]
    noisy: torch.Tensor
    labels: torch.Tensor | None  # (N,) int64


class Validation:
    """Mean PSNR and SSIM over the validation patches, under every stored condition or the model's own noise."""

    def __init__(
        self,
        noisy_root: Path,
        patch_folder: Path,
        limit: int | None,
        device: torch.device,
        *,
        labels: np.ndarray | None = None,
        own: tuple[NoiseSpec, int] | None = None,
    ):
        """`labels`: (N,), of all validation patches. `own`: noise and seed that replace the stored conditions."""
        names = noisy_sets.names(noisy_root)
        chosen = noisy_sets.spread(patch_folder, limit)
        if len(chosen) < distributed.world_size():
            raise UserError(f"train.val_patches: {len(chosen)} patches for {distributed.world_size()} processes")
        classes = None if labels is None else torch.from_numpy(labels[chosen]).to(device)

        def part(level: float, clean: np.ndarray, noisy: np.ndarray) -> Part:
            planar = [torch.from_numpy(a).permute(0, 3, 1, 2).contiguous().to(device) for a in (clean, noisy)]
            return Part(level, planar[0].float().div(depths.white(clean.dtype)), planar[1], classes)

        if own:
            self.parts = [part(*noise_sampling.validation(patch_folder, chosen, *own))]
            self.has_clean = True
        else:
            stored = (noisy_sets.validation(noisy_root, patch_folder, name, chosen) for name in names)
            known = [noisy_sets.read(noisy_root, name) for name in names]
            self.parts = [part(one.sigma_255, *pair) for one, pair in zip(known, stored, strict=True)]
            self.has_clean = all(one.has_clean for one in known)

    @property
    def levels(self) -> list[float]:
        """The distinct noise levels, of 255."""
        return list(dict.fromkeys(part.level for part in self.parts))

    @torch.inference_mode()
    def __call__(self, model: nn.Module, only: float | None = None) -> dict[str, float]:
        """{"psnr", "ssim"} of the outputs clamped to [0, 1]; `only`: use only this noise level."""
        scores: dict[str, list[torch.Tensor]] = defaultdict(list)
        for part in self._outputs(model, only):
            restored = part.output.clamp(0, 1)
            scores["psnr"].append(batched.psnr(part.clean, restored).clamp(max=image_quality.HIGHEST_PSNR))
            scores["ssim"].append(batched.ssim(part.clean, restored))
        return {name: distributed.gather(torch.cat(values)).mean().item() for name, values in scores.items()}

    @torch.inference_mode()
    def preview(self, model: nn.Module) -> torch.Tensor | None:
        """The first patches, restored, (N, H, W, C) uint8."""
        first = self.parts[0]
        few = Part(first.level, *(None if t is None else t[:PREVIEWS] for t in first[1:]))  # type: ignore[arg-type]
        return _pixels(tiled_inference.forward(model.eval(), few.noisy, few.level, few.labels))

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(noisy, clean) patches of `preview`, (N, H, W, C) uint8."""
        return _pixels(self.parts[0].noisy[:PREVIEWS]), _pixels(self.parts[0].clean[:PREVIEWS])

    def _outputs(self, model: nn.Module, only: float | None = None) -> Iterator["_Output"]:
        """Outputs for this process's share of the patches."""
        model.eval()
        for level, clean, noisy, labels in self._shares(only):
            yield _Output(clean, labels, tiled_inference.forward(model, noisy, level, labels))

    def _shares(self, only: float | None = None) -> Iterator[Part]:
        """This process's share of the patches, a batch at a time."""
        done = 0
        for whole in self.parts:
            if only is not None and whole.level != only:
                continue
            own = slice((distributed.rank() - done) % distributed.world_size(), None, distributed.world_size())
            done += len(whole.clean)
            part = Part(whole.level, *(None if t is None else t[own] for t in whole[1:]))  # type: ignore[arg-type]
            size = max(1, BATCH_PIXELS // (part.clean.shape[-1] * part.clean.shape[-2]))
            for start in range(0, len(part.clean), size):
                batch = (None if t is None else t[start : start + size] for t in part[1:])
                yield Part(part.level, *batch)  # type: ignore[arg-type]


class BlindSpotValidation(Validation):
    """Blind-spot score of a self-supervised training run: how well masked noisy pixels are predicted.

    If clean images are known, PSNR and SSIM are recorded too, but not used for selection.
    """

    @torch.inference_mode()
    def __call__(self, model: nn.Module, only: float | None = None) -> dict[str, float]:
        """{"held_out"} in dB (see metrics.no_reference), then the scores of Validation."""
        values = [
            no_reference.prediction_score_batch(
                noisy, tiled_inference.forward(model.eval(), no_reference.mask(noisy), level, labels)
            )
            for level, _, noisy, labels in self._shares(only)
        ]
        scores = {"held_out": distributed.gather(torch.cat(values)).mean().item()}
        return scores | (super().__call__(model, only) if self.has_clean else {})


class ClassifierValidation(Validation):
    """Accuracy and log-likelihood of a classifier."""

    @torch.inference_mode()
    def __call__(self, model: nn.Module, only: float | None = None) -> dict[str, float]:
        """{"accuracy", "log_likelihood"}: mean natural logarithm of the probability of the true class."""
        right, likelihood = [], []
        for part in self._outputs(model, only):
            assert part.labels is not None
            right.append((part.output.argmax(1) == part.labels).double())
            likelihood.append(-F.cross_entropy(part.output.double(), part.labels, reduction="none"))
        scores = {"accuracy": torch.cat(right), "log_likelihood": torch.cat(likelihood)}
        return {name: distributed.gather(values).mean().item() for name, values in scores.items()}

    def preview(self, model: nn.Module) -> torch.Tensor | None:
        """None: a classifier returns no images."""
        return None


class _Output(NamedTuple):
    clean: torch.Tensor
    labels: torch.Tensor | None
    output: torch.Tensor


def _pixels(images: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) float to (N, H, W, C) uint8, on the CPU."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu()
