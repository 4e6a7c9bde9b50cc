"""Optimiser and learning-rate schedule from the `train` block."""

import math

import torch
from torch import nn

from denoiselab.config import Train

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

History = list[dict[str, float]]  # one row per validation


def build(parameters: list[nn.Parameter], settings: Train) -> torch.optim.Optimizer:
    """Adam or AdamW; weight decay only on weights of two or more dimensions, not on biases and normalisation."""
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    fused = all(p.device.type == "cuda" for p in parameters)
    return OPTIMIZERS[settings.optimizer](groups, lr=settings.lr, betas=settings.betas, fused=fused)  # type: ignore[call-arg]


def learning_rate(settings: Train, step: int, total: int, epoch: float, score: str, history: History) -> float:
    """Learning rate of `step` of `total`: linear warm-up, then the schedule.

    A pure function of its arguments (the plateau schedule reads `history[...][score]`), so it has no state to resume.
    """
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    return settings.lr * _share(settings, step, total, int(epoch), score, history)


def _share(settings: Train, step: int, total: int, epoch: int, score: str, history: History) -> float:
    """Share of `lr` after the warm-up."""
    schedule = settings.schedule
    if schedule.kind == "cosine":
        progress = (step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress))
    times = {
        "constant": 0,
        "exponential": epoch,
        "step": epoch // schedule.every,
        "plateau": stalls(history, score, schedule.patience),
    }
    return schedule.gamma ** times[schedule.kind]


def stalls(history: History, score: str, patience: int | None) -> int:
    """How many times `patience` consecutive validations did not improve the best score; 0 if `patience` is None."""
    best, since, count = -math.inf, 0, 0
    for row in history:
        since = 0 if row[score] > best else since + 1
        best = max(best, row[score])
        if since == patience:
            since, count = 0, count + 1
    return count
