"""What a training changes: the model, its optimiser, the averaged weights, and which layers are frozen."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from denoiselab.config import Train
from denoiselab.runtime import distributed
from denoiselab.runtime.errors import UserError
from denoiselab.training import optimizer


class Learner:
    """Steps of one model. All that a step depends on is in `state()`, or a function of the training's history.

    Each of several processes has one that goes through its share of every batch of `images`; the models stay the same.
    """

    def __init__(self, model: nn.Module, settings: Train, images: int):
        self.model, self.settings = model, settings
        distributed.unite(model, images)
        self.trained = [p for p in model.parameters() if p.requires_grad]  # a frozen part of the model stays so
        self.optimizer = optimizer.build(self.trained, settings)
        self.average = None
        if settings.ema:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)

    @property
    def kept(self) -> nn.Module:
        """The module that is validated and whose weights are kept: the average where there is one."""
        return self.average.module if self.average is not None else self.model

    def prepare(self, rate: float, thawed: int) -> None:
        """Set the learning rate and freeze the layers that have not thawed; puts the model in train mode."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        if self.settings.freeze:
            frozen = tuple(self.settings.freeze.layers[: len(self.settings.freeze.layers) - thawed])
            freeze(self.model, self.trained, frozen)

    def step(self, loss: torch.Tensor) -> None:
        """Backward and one step of the optimiser and the average; the losses of all processes add up."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        distributed.add_gradients(self.trained)
        if self.settings.grad_clip:
            nn.utils.clip_grad_norm_(self.trained, self.settings.grad_clip)
        self.optimizer.step()
        if self.average is not None and self.settings.ema:
            self._average(self.average, self.settings.ema)

    @torch.no_grad()
    def _average(self, average: AveragedModel, decay: float) -> None:
        """A step of the average, as its own `update_parameters`, which has the host wait for CUDA at every step."""
        if average.n_averaged == 0:  # a tensor, but on the CPU
            average.update_parameters(self.model)
        else:
            torch._foreach_lerp_(_floats(average.module), _floats(self.model), 1 - decay)
            average.n_averaged += 1

    def finite(self) -> bool:
        """Whether all that is in `state()` is. A squared gradient may overflow while weights and loss do not."""
        moments = [value for own in self.optimizer.state.values() for value in own.values()]
        average = _floats(self.average.module) if self.average is not None else []
        known = [*_floats(self.model), *average, *(value for value in moments if isinstance(value, torch.Tensor))]
        return all(bool(tensor.isfinite().all()) for tensor in known)

    def state(self) -> dict[str, Any]:
        average = self.average.state_dict() if self.average is not None else None
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "average": average}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _floats(model: nn.Module) -> list[torch.Tensor]:
    """Parameters and buffers, but for counters."""
    return [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]


def freeze(model: nn.Module, trained: list[nn.Parameter], frozen: tuple[str, ...]) -> None:
    """Of the parameters `trained`, leave out those of the layers `frozen`; their BatchNorm statistics stand still, too.

    ValueError names a layer that is not there.
    """
    own = {id(p) for p in trained}
    for layer in frozen:
        if not any(_in(name, (layer,)) for name, _ in model.named_parameters()):
            there = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters()))
            raise UserError(f"freeze.layers: there is no layer {layer!r} with weights; there are: {there}")
    for name, parameter in model.named_parameters():
        if id(parameter) in own:
            parameter.requires_grad_(not _in(name, frozen))
    for name, module in model.named_modules():
        if _in(name, frozen):
            module.eval()


def _in(name: str, layers: tuple[str, ...]) -> bool:
    """Whether a parameter or module is one of the layers or part of one."""
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)
