"""Several processes that train and evaluate as one: what each takes, and how it is put together again.

torchrun starts them (see pipeline.launcher). Of whatever is shared out, rank r of w takes items r, r + w, r + 2w, ...
In a process that is alone all of this does nothing.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from denoiselab.runtime import processes
from denoiselab.runtime.errors import UserError

# Rank 0 may have to wait for another training's lock. A process that dies is noticed by torchrun, which ends them all.
TIMEOUT = timedelta(days=7)

T = TypeVar("T")
Shared = TypeVar("Shared", torch.Tensor, list[Any])


@contextmanager
def joined(device: torch.device | None) -> Iterator[None]:
    """While it lasts, work with the other processes that torchrun has started, each on a GPU of its own or on the CPU.

    None: alone all the same. ValueError where there are more processes on a machine than GPUs.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes.end_with_parent(signal.SIGKILL)  # torchrun's are in sessions of their own, and would live on
    if device is None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    dist.init_process_group(timeout=TIMEOUT, **_on(device))
    yield
    dist.destroy_process_group()  # after an error it would wait for the others


def _on(device: torch.device) -> dict[str, Any]:
    """Backend and device of this process."""
    if device.type != "cuda":
        return {"backend": "gloo"}
    local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= there:
        raise UserError(f"train.launcher: more processes on this machine than its {there} GPUs")
    torch.cuda.set_device(local)
    return {"backend": "nccl", "device_id": torch.device("cuda", local)}


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world() > 1 else 0


def first() -> bool:
    """Whether this is the process that reads checkpoints, writes files, tracks and talks."""
    return rank() == 0


def share(whole: Shared) -> Shared:
    """This process's share of (N, ...), or of a list."""
    return whole[rank() :: world()] if world() > 1 else whole


def gather(own: torch.Tensor, items: int | None = None) -> torch.Tensor:
    """The whole (N, ...), on every process, from the shares of all; `items`: N, where it is known."""
    if world() == 1:
        return own
    items = items or int(total(torch.tensor(len(own), device=own.device)))
    padded = own.new_zeros((-(-items // world()), *own.shape[1:]))
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in range(world())]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:items]


def broadcast(value: T) -> T:
    """Rank 0's value."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def from_first(read: Callable[[], T]) -> T:
    """What `read` gives on rank 0."""
    return cast(T, broadcast(read() if first() else None))


def in_order(own: Iterable[T]) -> Iterator[T]:
    """On rank 0 the items of all processes, in the order of what was shared out; the other ones send it theirs.

    To be run through on every process. An item is sent when rank 0 comes to it, so that none has many in memory.
    """
    if not first():
        for item in own:
            dist.send_object_list([[item]], dst=0)
        dist.send_object_list([[]], dst=0)
        return
    left, source = deque(range(world())), iter(own)
    while left:
        sender = left.popleft()
        found = list(islice(source, 1)) if sender == 0 else _received(sender)
        if found:
            left.append(sender)
            yield found[0]


def _received(sender: int) -> list[Any]:
    box: list[Any] = [None]
    dist.recv_object_list(box, src=sender)
    return box[0]


def agree(**values: object) -> None:
    """ValueError names those of the values that are others than rank 0's."""
    there = broadcast(values)
    if other := [name for name, value in values.items() if value != there[name]]:
        raise UserError(f"process {rank()} of {world()} has other {', '.join(other)} than the first")


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed


def total(values: torch.Tensor) -> torch.Tensor:
    """Their sum over the processes, each of which may differentiate a loss of its own by it: the losses add up."""
    return _Total.apply(values) if world() > 1 else values


def mean(value: torch.Tensor, items: int) -> torch.Tensor:
    """Of a mean over this process's `items`: that over the items of all."""
    if world() == 1:
        return value
    summed = total(torch.stack([value * items, value.new_tensor(items)]))
    return summed[0] / summed[1]


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their sums over the processes.

    In one piece and in the parameters' order, so that a resumed training adds up as an undisturbed one does:
    DistributedDataParallel lays its buckets out anew after a first step, upon which sums of three or more round anew.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view(gradient.shape))


def unite(model: nn.Module, images: int) -> None:
    """Make a model, in place, compute on its shares of a batch of `images` what it would on the whole of it.

    It starts from rank 0's weights. BatchNorm takes the statistics of the whole batch, dropout its share of the whole
    batch's mask. The names of its weights stay.
    """
    if world() == 1:
        return
    for tensor in model.state_dict().values():
        weights = tensor.contiguous()
        dist.broadcast(weights, src=0)
        tensor.copy_(weights)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SharedBatchNorm
        elif type(module) is nn.Dropout:
            module.__class__, module.images = _SharedDropout, images  # type: ignore[assignment]


class _SharedBatchNorm(nn.BatchNorm2d):
    """What nn.SyncBatchNorm is, which works on CUDA alone, where the host waits for it at every step."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        values = x.float()
        pixels = values.new_tensor([x.numel() / x.shape[1]])
        sums = total(torch.cat([values.sum((0, 2, 3)), pixels]))
        average, count = sums[:-1] / sums[-1], sums[-1]
        centred = values - average[:, None, None]
        variance = total(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None]).to(x.dtype)


class _SharedDropout(nn.Dropout):
    """Every process draws the mask of the whole batch: all generators go on alike."""

    images: int  # of the whole batch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        layout = torch.channels_last if x.ndim == 4 else torch.contiguous_format
        whole = torch.ones((self.images, *x.shape[1:]), dtype=x.dtype, device=x.device).to(memory_format=layout)
        return x * share(F.dropout(whole, self.p))
