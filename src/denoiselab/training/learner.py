"""The model in training with its optimiser, averaged weights and frozen layers."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from denoiselab.config import Train
from denoiselab.runtime import distributed
from denoiselab.runtime.errors import UserError
from denoiselab.training import optimizer


class Learner:
    """Takes the optimiser steps. All state that a step needs is in `state()` or can be derived from the history.

    Each process has its own; all apply the sum of the gradients of all processes, so the models stay identical.
    """

    def __init__(self, model: nn.Module, settings: Train, images: int):
        """`images`: size of a batch over all processes."""
        self.model, self.settings = model, settings
        distributed.synchronise(model, images)
        self.trained = [p for p in model.parameters() if p.requires_grad]  # layers frozen by the model stay frozen
        self.optimizer = optimizer.build(self.trained, settings)
        self.average = None
        if settings.ema:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)

    @property
    def evaluated(self) -> nn.Module:
        """The module that is validated and saved: the one with averaged weights, if `ema` is set."""
        return self.average.module if self.average is not None else self.model

    def prepare(self, rate: float, thawed: int) -> None:
        """Set the learning rate and train mode; freeze all of `freeze.layers` but the last `thawed`."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        if self.settings.freeze:
            frozen = tuple(self.settings.freeze.layers[: len(self.settings.freeze.layers) - thawed])
            freeze(self.model, self.trained, frozen)

    def step(self, loss: torch.Tensor) -> None:
        """Backward pass, sum of the gradients over all processes, clipping, optimiser step, averaged weights."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        distributed.add_gradients(self.trained)
        if self.settings.grad_clip:
            nn.utils.clip_grad_norm_(self.trained, self.settings.grad_clip)
        self.optimizer.step()
        if self.average is not None and self.settings.ema:
            self._update_average(self.average, self.settings.ema)

    @torch.no_grad()
    def _update_average(self, average: AveragedModel, decay: float) -> None:
        """As `AveragedModel.update_parameters`, but without making the host wait for CUDA at every step."""
        if average.n_averaged == 0:  # a tensor, but on the CPU
            average.update_parameters(self.model)
        else:
            torch._foreach_lerp_(_floats(average.module), _floats(self.model), 1 - decay)
            average.n_averaged += 1

    def finite(self) -> bool:
        """Whether `state()` is finite: squared gradients may overflow although weights and loss are finite."""
        moments = [value for values in self.optimizer.state.values() for value in values.values()]
        average = _floats(self.average.module) if self.average is not None else []
        tensors = [*_floats(self.model), *average, *(value for value in moments if isinstance(value, torch.Tensor))]
        return all(bool(tensor.isfinite().all()) for tensor in tensors)

    def state(self) -> dict[str, Any]:
        """Everything to store in a checkpoint."""
        average = self.average.state_dict() if self.average is not None else None
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "average": average}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _floats(model: nn.Module) -> list[torch.Tensor]:
    """Parameters and buffers, without counters."""
    return [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]


def freeze(model: nn.Module, trained: list[nn.Parameter], frozen: tuple[str, ...]) -> None:
    """Freeze the layers named in `frozen`, with their BatchNorm statistics; unfreeze the rest of `trained`.

    UserError for a layer that does not exist.
    """
    ids = {id(p) for p in trained}
    for layer in frozen:
        if not any(_in(name, (layer,)) for name, _ in model.named_parameters()):
            layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters()))
            raise UserError(f"freeze.layers: no layer {layer!r} with weights; choose from: {layers}")
    for name, parameter in model.named_parameters():
        if id(parameter) in ids:
            parameter.requires_grad_(not _in(name, frozen))
    for name, module in model.named_modules():
        if _in(name, frozen):
            module.eval()


def _in(name: str, layers: tuple[str, ...]) -> bool:
    """Whether a parameter or module is one of the layers or part of one."""
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)
