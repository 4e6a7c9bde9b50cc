"""fit(): batch, noise, loss, step; once in a while validate and keep the best. It knows nothing of tracking."""

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from denoiselab import noise, optim
from denoiselab.batches import Batches
from denoiselab.checkpoint import Checkpoint
from denoiselab.config import Train
from denoiselab.config.noise import NoiseSpec
from denoiselab.losses import LOSSES

REPORT_EVERY = 25  # steps between looks at the loss: the only host synchronisation of the loop itself
SCORES = ("psnr", "ssim")

Weights = dict[str, torch.Tensor]
Validate = Callable[[nn.Module], dict[str, float]]
Log = Callable[[int, dict[str, float]], None]


@dataclass
class Run:
    """What a training has come to; all of it is in every checkpoint."""

    step: int = 0
    seconds: float = 0.0  # of training and validation, over all sittings
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, dict[str, Any]] = field(default_factory=dict)  # score -> value, step, weights

    def stale(self, patience: int | None) -> bool:
        """Whether the last `patience` validations brought no better PSNR."""
        if patience is None or not self.history:
            return False
        return sum(row["step"] > self.best["psnr"]["step"] for row in self.history) >= patience


def fit(
    model: nn.Module,
    batches: Batches,
    validate: Validate,
    settings: Train,
    spec: NoiseSpec,
    *,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda step, values: None,
) -> Run:
    """Train `model` in place and return its history and best weights.

    The noise is drawn anew at every step, on the device (but for kinds that libraries make on the CPU). With a
    checkpoint the training goes on where it was, and on the CPU ends with the same bytes as an undisturbed one.
    `log(step, values)` gets every validation.
    ValueError as soon as the loss is seen to be not finite.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optim.build(model, settings)
    run = _resume(checkpoint, model, optimizer)
    criterion = LOSSES[settings.loss]
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
    total, seen = torch.zeros((), device=device), 0
    bar = _progress(run, settings)
    for row in run.history:
        log(int(row["step"]), row)  # again: a kill may have cut off what was logged of it
    started = time.perf_counter() - run.seconds
    model.train()
    while run.step < settings.steps and not run.stale(settings.patience):
        rate = optim.learning_rate(settings, run.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        clean, recorded, generator = batches(run.step)
        noisy = noise.add(clean, generator, spec, recorded).contiguous(memory_format=torch.channels_last)
        with autocast:
            restored = model(noisy)
        loss = criterion(restored.float(), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizer.step()
        run.step += 1
        total, seen = total + loss.detach(), seen + 1
        last = run.step == settings.steps
        look = run.step % settings.validate_every == 0 or last
        if look or run.step % REPORT_EVERY == 0:
            run.seconds = time.perf_counter() - started
            mean = _finite(total.item() / seen, run.step)
            _show(bar, run, mean, settings.batch)
        if look:
            scores = validate(model)
            _finite(sum(scores.values()), run.step)
            model.train()
            row = {"step": run.step, "epoch": run.step / batches.steps_per_epoch, "lr": rate, "loss": mean}
            run.history.append(row | {f"val_{name}": scores[name] for name in SCORES})
            _keep_best(run, model, scores)
            run.seconds = time.perf_counter() - started
            _save(checkpoint, run, model, optimizer)
            log(run.step, run.history[-1])
            total, seen = torch.zeros((), device=device), 0
    bar.close()
    return run


def _keep_best(run: Run, model: nn.Module, scores: dict[str, float]) -> None:
    for name in SCORES:
        if name not in run.best or scores[name] > run.best[name]["value"]:
            weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
            run.best[name] = {"value": scores[name], "step": run.step, "weights": weights}


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise ValueError(f"the loss or a score is not finite by step {step}; lower lr or grad_clip")
    return loss


def _resume(checkpoint: Checkpoint | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> Run:
    state = checkpoint.load() if checkpoint else None
    if state is None:
        return Run()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and state["cuda_rng"]:
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    run = Run(**state["run"])
    print(f"resuming at step {run.step}", file=sys.stderr)
    return run


def _save(checkpoint: Checkpoint | None, run: Run, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    if checkpoint is None:
        return
    cuda_rng = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save({"run": asdict(run), "rng": torch.get_rng_state(), "cuda_rng": cuda_rng, **states})


def _progress(run: Run, settings: Train) -> "tqdm[Any]":
    quiet = bool(os.environ.get("CI")) or not sys.stderr.isatty()
    return tqdm(initial=run.step, total=settings.steps, unit="step", disable=quiet, dynamic_ncols=True)


def _show(bar: "tqdm[Any]", run: Run, loss: float, batch: int) -> None:
    psnr = f"val {run.history[-1]['val_psnr']:.2f} dB, " if run.history else ""
    bar.set_postfix_str(f"loss {loss:.5f}, {psnr}{batch * run.step / run.seconds:.0f} images/s", refresh=False)
    bar.update(run.step - bar.n)
