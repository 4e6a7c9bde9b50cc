"""The training loop: batch, noise, loss, optimiser step; at intervals validation, best weights, checkpoint.

Independent of MLflow: `log(step, values)` is called after each validation.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from denoiselab.config import Train
from denoiselab.config.noise import NoiseSpec
from denoiselab.models.tiled_inference import forward
from denoiselab.noise import synthesis
from denoiselab.runtime import devices, distributed, progress
from denoiselab.runtime.errors import DivergedError, UserError
from denoiselab.training import optimizer
from denoiselab.training.batches import Batches
from denoiselab.training.checkpoint import Checkpoint
from denoiselab.training.learner import Learner
from denoiselab.training.supervision import SUPERVISION, Network, Objective

MOMENTS = ("first", "middle", "last")  # validations whose preview is kept
REPORT_EVERY = 25  # steps between reads of the loss, the only time that the loop itself waits for the device

Log = Callable[[int, dict[str, float]], None]


class Validate(Protocol):
    """Scores of a model, higher is better. The first one selects the weights; every `patience` refers to it."""

    def __call__(self, model: nn.Module) -> dict[str, float]: ...

    def preview(self, model: nn.Module) -> torch.Tensor | None:
        """The first validation patches, restored, (N, H, W, C) uint8; None if the model returns no images."""
        ...


@dataclass
class TrainingState:
    """Progress and results of a training run, stored in every checkpoint beside the Learner's state."""

    step: int = 0
    seconds: float = 0.0  # training and validation, including interrupted runs
    history: list[dict[str, float]] = field(default_factory=list)  # one row per validation
    best: dict[str, dict[str, Any]] = field(default_factory=dict)  # score -> value, step, weights
    previews: dict[str, tuple[int, torch.Tensor]] = field(default_factory=dict)  # moment -> step, pixels

    @property
    def score(self) -> str:
        """History column to which every `patience` setting refers."""
        return f"val_{next(iter(self.best), 'psnr')}"

    def stalls(self, patience: int | None) -> int:
        """How often this score has stalled for `patience` validations."""
        return optimizer.stalls(self.history, self.score, patience)


def fit(
    model: nn.Module,
    batches: Batches,
    validate: Validate,
    settings: Train,
    spec: NoiseSpec,
    objective: Objective,
    *,
    device: torch.device,
    rounding: int | None = 255,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda step, values: None,
) -> TrainingState:
    """Train `model` in place; returns the history and the best weights.

    `rounding`: steps to which noise is quantised, see depths.steps.

    Resumes from `checkpoint`; on the CPU it then ends with the same bytes as an uninterrupted run. Several processes
    train as one, each on its share of every batch; the first one writes the checkpoint and logs.
    DivergedError as soon as the loss, a score or a weight is not finite; such a state is never saved.
    """
    if batches.batch < distributed.world_size():
        raise UserError(f"train.batch: {batches.batch} patches for {distributed.world_size()} processes")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = Learner(model, settings, batches.batch)
    network = _network(model, settings, device)
    supervise = SUPERVISION[settings.target]
    state = _resume(checkpoint, learner)
    steps = settings.steps or (settings.epochs or 0) * batches.steps_per_epoch
    every = settings.validate_every or batches.steps_per_epoch
    total, count = torch.zeros((), device=device), 0  # loss since the last validation
    bar = _progress(state, steps)
    for row in state.history:
        log(int(row["step"]), row)  # again, in case logging was interrupted
    started = time.perf_counter() - state.seconds

    while state.step < steps and not state.stalls(settings.patience):
        # Learning rate, frozen layers, train mode
        epoch = state.step / batches.steps_per_epoch
        rate = optimizer.learning_rate(settings, state.step, steps, epoch, state.score, state.history)
        learner.prepare(rate, state.stalls(settings.freeze.patience) if settings.freeze else 0)

        # Draw a batch of clean crops, the same for every process
        batch = batches(state.step)

        # Add noise, drawn anew at every step
        noisy = synthesis.add(batch.clean, batch.generator, spec, batch.recorded, rounding)

        # Loss of this process's share of the batch
        loss = supervise(network, noisy, batch, objective) * (len(distributed.share(noisy)) / len(noisy))

        # Backward pass, gradient clipping, optimiser step, averaged weights
        learner.step(loss)
        state.step += 1
        total, count = total + loss.detach(), count + 1

        # At intervals: read the loss
        validating = state.step % every == 0 or state.step == steps
        if validating or state.step % REPORT_EVERY == 0:
            state.seconds = time.perf_counter() - started
            mean = _finite(distributed.total(total).item() / count, state)
            _show(bar, state, mean, batches.batch)

        # At intervals: validate, keep the best weights, save a checkpoint, log
        if validating:
            scores = validate(learner.evaluated)
            _finite(sum(scores.values()), state)
            if not learner.finite():
                raise _diverged("a weight or the optimiser's state", state)
            row = {"step": state.step, "epoch": state.step / batches.steps_per_epoch, "lr": rate, "loss": mean}
            state.history.append(row | {f"val_{name}": value for name, value in scores.items()})
            _keep_best(state, learner.evaluated, scores)
            _keep_preview(state, validate.preview(learner.evaluated), steps)
            state.seconds = time.perf_counter() - started
            _save(checkpoint, state, learner)
            log(state.step, state.history[-1])
            total, count = torch.zeros((), device=device), 0
    bar.close()
    return state


def _network(model: nn.Module, settings: Train, device: torch.device) -> Network:
    """The model's forward pass in training: compiled and in the settings' precision.

    A noise-aware model is given the RMS of the noise in each image, in 8-bit units, where the clean image is known.
    """
    compiled = devices.compiled(model) if settings.compile else model
    precision = devices.precision(settings.precision, device)
    aware = getattr(model, "noise_aware", False)

    def network(noisy: torch.Tensor, labels: torch.Tensor | None, clean: torch.Tensor | None = None) -> torch.Tensor:
        level = None
        if aware and clean is not None:
            level = 255 * (noisy - clean).square().mean(dim=(1, 2, 3)).sqrt()
        with devices.autocast(device, precision):
            output = forward(compiled, noisy.contiguous(memory_format=torch.channels_last), level, labels)
        return output.float()

    return network


def _keep_best(state: TrainingState, model: nn.Module, scores: dict[str, float]) -> None:
    for name in scores:
        if name not in state.best or scores[name] > state.best[name]["value"]:
            weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
            state.best[name] = {"value": scores[name], "step": state.step, "weights": weights}


def _keep_preview(state: TrainingState, preview: torch.Tensor | None, steps: int) -> None:
    """Keep the previews of the first validation, the first one in the second half, and the last one."""
    if preview is None:
        return
    state.previews.setdefault("first", (state.step, preview))
    if 2 * state.step >= steps:
        state.previews.setdefault("middle", (state.step, preview))
    state.previews["last"] = (state.step, preview)


def _finite(value: float, state: TrainingState) -> float:
    if not math.isfinite(value):
        raise _diverged("the loss or a score", state)
    return value


def _diverged(what: str, state: TrainingState) -> DivergedError:
    kept = f"; the checkpoint of step {state.history[-1]['step']} is kept" if state.history else ""
    return DivergedError(f"training diverged: {what} is not finite at step {state.step}; lower lr or grad_clip{kept}")


def _resume(checkpoint: Checkpoint | None, learner: Learner) -> TrainingState:
    saved = distributed.broadcast(checkpoint.load() if checkpoint else None)
    if saved is None:
        return TrainingState()
    learner.load(saved["learner"])
    torch.set_rng_state(saved["rng"])
    if torch.cuda.is_available() and saved["cuda_rng"] is not None:
        torch.cuda.set_rng_state(saved["cuda_rng"])
    state = TrainingState(**saved["state"])
    if distributed.is_first():
        print(f"resuming at step {state.step}", file=sys.stderr)
    return state


def _save(checkpoint: Checkpoint | None, state: TrainingState, learner: Learner) -> None:
    if checkpoint is None:
        return
    cuda_rng = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    checkpoint.save(
        {"state": asdict(state), "rng": torch.get_rng_state(), "cuda_rng": cuda_rng, "learner": learner.state()}
    )


def _progress(state: TrainingState, steps: int) -> "tqdm[Any]":
    hidden = progress.hidden() or not distributed.is_first()
    return tqdm(initial=state.step, total=steps, unit="step", disable=hidden, dynamic_ncols=True)


def _show(bar: "tqdm[Any]", state: TrainingState, loss: float, batch: int) -> None:
    score = f"{state.score.replace('_', ' ')} {state.history[-1][state.score]:.2f}, " if state.history else ""
    rate = batch * state.step / state.seconds
    bar.set_postfix_str(f"loss {loss:.5f}, {score}{rate:.0f} images/s", refresh=False)
    bar.update(state.step - bar.n)
