"""Optimiser and learning-rate schedule from the `train` block."""

import math

import torch
from torch import nn

from denoiselab.config import Train

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def build(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """Adam or AdamW; weight decay only on weights of two or more dimensions, not on biases and normalisation."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    fused = all(p.device.type == "cuda" for p in decayed + plain)
    return OPTIMIZERS[settings.optimizer](groups, lr=settings.lr, betas=settings.betas, fused=fused)  # type: ignore[call-arg]


def learning_rate(settings: Train, step: int) -> float:
    """Linear warm-up to `lr`, then half a cosine down to `final_lr` of it (Loshchilov and Hutter, 2017)."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    low = settings.lr * settings.final_lr
    return low + (settings.lr - low) * 0.5 * (1 + math.cos(math.pi * progress))
