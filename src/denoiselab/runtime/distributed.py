"""Data-parallel training and evaluation in several processes started by torchrun (see pipeline.launcher).

Rank r of w processes works on items r, r + w, r + 2w, ... In a single process these functions do nothing.
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

# Long, as rank 0 may wait for another training run's lock. If a process dies, torchrun ends all.
TIMEOUT = timedelta(days=7)

T = TypeVar("T")
Shared = TypeVar("Shared", torch.Tensor, list[Any])


@contextmanager
def process_group(device: torch.device | None) -> Iterator[None]:
    """Process group of all processes started by torchrun, one GPU each or on the CPU; `device` None: no group.

    UserError if a machine has more processes than GPUs.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes.end_with_parent(signal.SIGKILL)  # torchrun's workers have sessions of their own and would survive
    if device is None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    dist.init_process_group(timeout=TIMEOUT, **_on(device))
    yield
    dist.destroy_process_group()  # not after an error: it would wait for the others


def _on(device: torch.device) -> dict[str, Any]:
    """Backend and device of this process."""
    if device.type != "cuda":
        return {"backend": "gloo"}
    local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= gpus:
        raise UserError(f"train.launcher: more processes on this machine than GPUs ({gpus})")
    torch.cuda.set_device(local)
    return {"backend": "nccl", "device_id": torch.device("cuda", local)}


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this is rank 0: it alone reads checkpoints, writes files, tracks and prints."""
    return rank() == 0


def share(whole: Shared) -> Shared:
    """This process's items of a tensor (N, ...) or list."""
    return whole[rank() :: world_size()] if world_size() > 1 else whole


def gather(local: torch.Tensor, items: int | None = None) -> torch.Tensor:
    """Inverse of `share`, on every process: (N, ...) from each process's items; `items`: N, if known."""
    if world_size() == 1:
        return local
    if local.dtype == torch.uint16:  # unknown to the backends
        return gather(local.view(torch.uint8), items).view(torch.uint16)
    items = items or int(total(torch.tensor(len(local), device=local.device)))
    padded = local.new_zeros((-(-items // world_size()), *local.shape[1:]))
    padded[: len(local)] = local
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:items]


def broadcast(value: T) -> T:
    """Rank 0's value, on every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def from_first(read: Callable[[], T]) -> T:
    """`read()` called on rank 0 only; its result on every process."""
    return cast(T, broadcast(read() if is_first() else None))


def in_order(local: Iterable[T]) -> Iterator[T]:
    """On rank 0 the items of all processes in the original order; the other processes send theirs and yield nothing.

    Iterate on every process. Each item is sent when rank 0 needs it, so few are in memory at a time.
    """
    if not is_first():
        for item in local:
            dist.send_object_list([[item]], dst=0)
        dist.send_object_list([[]], dst=0)
        return
    senders, source = deque(range(world_size())), iter(local)
    while senders:
        sender = senders.popleft()
        received = list(islice(source, 1)) if sender == 0 else _received(sender)  # empty: no more items
        if received:
            senders.append(sender)
            yield received[0]


def _received(sender: int) -> list[Any]:
    box: list[Any] = [None]
    dist.recv_object_list(box, src=sender)
    return box[0]


def check_equal(**values: object) -> None:
    """UserError naming the values that differ from rank 0's."""
    expected = broadcast(values)
    if other := [name for name, value in values.items() if value != expected[name]]:
        raise UserError(f"process {rank()} of {world_size()}: {', '.join(other)} differ from process 0")


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
    """Sum over all processes, differentiable: the gradient is that of the sum of the processes' losses."""
    return _Total.apply(values) if world_size() > 1 else values


def mean(value: torch.Tensor, items: int) -> torch.Tensor:
    """Mean over the items of all processes, from the mean over this process's `items`."""
    if world_size() == 1:
        return value
    summed = total(torch.stack([value * items, value.new_tensor(items)]))
    return summed[0] / summed[1]


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their sums over the processes.

    One reduction in the order of the parameters, so that a resumed training run is bit-identical to an uninterrupted
    one: DistributedDataParallel rearranges its buckets after the first step, which changes the rounding.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view(gradient.shape))


def synchronise(model: nn.Module, images: int) -> None:
    """Prepare a model, in place, for batches of `images` that are shared out over the processes.

    Copies rank 0's weights to all. BatchNorm uses the statistics of the whole batch, dropout its part of the whole
    batch's mask. Names of weights do not change.
    """
    if world_size() == 1:
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
    """As nn.SyncBatchNorm, but also on the CPU and, on CUDA, without synchronising the host at every step."""

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
    """Every process draws the whole batch's mask, so that all generators stay in step."""

    images: int  # in the whole batch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        layout = torch.channels_last if x.ndim == 4 else torch.contiguous_format
        whole = torch.ones((self.images, *x.shape[1:]), dtype=x.dtype, device=x.device).to(memory_format=layout)
        return x * share(F.dropout(whole, self.p))
