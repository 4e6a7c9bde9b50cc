"""fit(): batch, noise, loss, step; once in a while validate and keep the best. It knows nothing of tracking."""

import math
import os
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
from denoiselab.runtime import devices, distributed
from denoiselab.runtime.errors import UserError
from denoiselab.training import optimizer
from denoiselab.training.batches import Batches
from denoiselab.training.checkpoint import Checkpoint
from denoiselab.training.learner import Learner
from denoiselab.training.supervision import TARGETS, Network, Objective

MOMENTS = ("first", "middle", "last")  # validations whose pictures are kept
REPORT_EVERY = 25  # steps between looks at the loss: the only host synchronisation of the loop itself

Log = Callable[[int, dict[str, float]], None]


class Validate(Protocol):
    """Scores of a model; the first is what `best` and all patience go by. Higher is better."""

    def __call__(self, model: nn.Module) -> dict[str, float]: ...

    def picture(self, model: nn.Module) -> torch.Tensor | None:
        """What it makes of some patches, (N, H, W, C) uint8, if that is a picture."""
        ...


@dataclass
class Run:
    """What a training has come to; all of it is in every checkpoint."""

    step: int = 0
    seconds: float = 0.0  # of training and validation, over all sittings
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, dict[str, Any]] = field(default_factory=dict)  # score -> value, step, weights
    pictures: dict[str, tuple[int, torch.Tensor]] = field(default_factory=dict)  # moment -> step, pixels

    @property
    def score(self) -> str:
        """Column of the history that all patience goes by."""
        return f"val_{next(iter(self.best), 'psnr')}"

    def stalls(self, patience: int | None) -> int:
        """How often that score has stalled for `patience` validations."""
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
    checkpoint: Checkpoint | None = None,
    log: Log = lambda step, values: None,
) -> Run:
    """Train `model` in place and return its history and best weights.

    The noise is drawn anew at every step, on the device (but for kinds that libraries make on the CPU). With a
    checkpoint the training goes on where it was, and on the CPU ends with the same bytes as an undisturbed one.
    `log(step, values)` gets every validation. Several processes do as one would, each on its share of every batch;
    the first one has the checkpoint and the log.
    ValueError as soon as the loss, a score or a weight is seen to be not finite; the checkpoint is never of that.
    """
    if batches.batch < distributed.world():
        raise UserError(f"train.batch: {batches.batch} patches for {distributed.world()} processes")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = Learner(model, settings, batches.batch)
    network = _network(model, settings, device)
    target = TARGETS[settings.target]
    run = _resume(checkpoint, learner)
    steps = settings.steps or (settings.epochs or 0) * batches.steps_per_epoch
    every = settings.validate_every or batches.steps_per_epoch
    total, seen = torch.zeros((), device=device), 0
    bar = _progress(run, steps)
    for row in run.history:
        log(int(row["step"]), row)  # again: a kill may have cut off what was logged of it
    started = time.perf_counter() - run.seconds
    while run.step < steps and not run.stalls(settings.patience):
        epoch = run.step / batches.steps_per_epoch
        rate = optimizer.learning_rate(settings, run.step, steps, epoch, run.score, run.history)
        learner.prepare(rate, run.stalls(settings.freeze.patience) if settings.freeze else 0)
        whole = batches(run.step)
        noisy = synthesis.add(whole.clean, whole.generator, spec, whole.recorded)
        loss = target(network, noisy, whole, objective) * (len(distributed.share(noisy)) / len(noisy))
        learner.step(loss)
        run.step += 1
        total, seen = total + loss.detach(), seen + 1
        look = run.step % every == 0 or run.step == steps
        if look or run.step % REPORT_EVERY == 0:
            run.seconds = time.perf_counter() - started
            mean = _finite(distributed.total(total).item() / seen, run)
            _show(bar, run, mean, batches.batch)
        if look:
            scores = validate(learner.kept)
            _finite(sum(scores.values()), run)
            if not learner.finite():
                raise _diverged("a weight or the optimiser", run)
            row = {"step": run.step, "epoch": run.step / batches.steps_per_epoch, "lr": rate, "loss": mean}
            run.history.append(row | {f"val_{name}": value for name, value in scores.items()})
            _keep_best(run, learner.kept, scores)
            _keep_picture(run, validate.picture(learner.kept), steps)
            run.seconds = time.perf_counter() - started
            _save(checkpoint, run, learner)
            log(run.step, run.history[-1])
            total, seen = torch.zeros((), device=device), 0
    bar.close()
    return run


def _network(model: nn.Module, settings: Train, device: torch.device) -> Network:
    """The model as targets see it: compiled and in the precision of the settings.

    A noise-aware one is told the noise's RMS in each image, in 8-bit units, where the clean image is given.
    """
    compiled = devices.compiled(model) if settings.compile else model
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
    aware = getattr(model, "noise_aware", False)

    def network(noisy: torch.Tensor, labels: torch.Tensor | None, clean: torch.Tensor | None = None) -> torch.Tensor:
        level = None
        if aware and clean is not None:
            level = 255 * (noisy - clean).square().mean(dim=(1, 2, 3)).sqrt()
        with autocast:
            output = forward(compiled, noisy.contiguous(memory_format=torch.channels_last), level, labels)
        return output.float()

    return network


def _keep_best(run: Run, model: nn.Module, scores: dict[str, float]) -> None:
    for name in scores:
        if name not in run.best or scores[name] > run.best[name]["value"]:
            weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
            run.best[name] = {"value": scores[name], "step": run.step, "weights": weights}


def _keep_picture(run: Run, picture: torch.Tensor | None, steps: int) -> None:
    """Those of the first and last validation, and of the first in the second half."""
    if picture is None:
        return
    run.pictures.setdefault("first", (run.step, picture))
    if 2 * run.step >= steps:
        run.pictures.setdefault("middle", (run.step, picture))
    run.pictures["last"] = (run.step, picture)


def _finite(value: float, run: Run) -> float:
    if not math.isfinite(value):
        raise _diverged("the loss or a score", run)
    return value


def _diverged(what: str, run: Run) -> ValueError:
    kept = f"; the checkpoint stays that of step {run.history[-1]['step']}" if run.history else ""
    return UserError(f"{what} is not finite by step {run.step}; lower lr or grad_clip{kept}")


def _resume(checkpoint: Checkpoint | None, learner: Learner) -> Run:
    state = distributed.broadcast(checkpoint.load() if checkpoint else None)
    if state is None:
        return Run()
    learner.load(state["learner"])
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and state["cuda_rng"] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"])
    run = Run(**state["run"])
    if distributed.first():
        print(f"resuming at step {run.step}", file=sys.stderr)
    return run


def _save(checkpoint: Checkpoint | None, run: Run, learner: Learner) -> None:
    if checkpoint is None:
        return
    cuda_rng = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    checkpoint.save(
        {"run": asdict(run), "rng": torch.get_rng_state(), "cuda_rng": cuda_rng, "learner": learner.state()}
    )


def _progress(run: Run, steps: int) -> "tqdm[Any]":
    quiet = bool(os.environ.get("CI")) or not sys.stderr.isatty() or not distributed.first()
    return tqdm(initial=run.step, total=steps, unit="step", disable=quiet, dynamic_ncols=True)


def _show(bar: "tqdm[Any]", run: Run, loss: float, batch: int) -> None:
    score = f"{run.score.replace('_', ' ')} {run.history[-1][run.score]:.2f}, " if run.history else ""
    bar.set_postfix_str(f"loss {loss:.5f}, {score}{batch * run.step / run.seconds:.0f} images/s", refresh=False)
    bar.update(run.step - bar.n)
