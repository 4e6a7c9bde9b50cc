"""Training batches: a pure function of (seed, step), so that a resumed run draws the same batches.

Every epoch visits all patches in a new order; a smaller batch at its end is dropped. In noisy/clean pairs, both patches
get the same crop, flip and rotation.
"""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from denoiselab.config import Albumentations, Augment
from denoiselab.data.patches import Stack
from denoiselab.imaging import depths
from denoiselab.runtime import devices, distributed, seeding
from denoiselab.runtime.errors import UserError

RESIDENT_SHARE = 0.5  # share of the device's free memory that patches may fill
STEPS_AHEAD = 8  # steps whose patches are gathered in advance
GATHERING_THREADS = 4  # mostly waiting for the disk


Pixels = np.ndarray | Stack


class TrainingPatches(NamedTuple):
    """All training patches."""

    clean: Pixels  # (N, H, W, C) of the data's depth, H = W; noisy for self-supervised training
    noisy: Pixels | None = None  # real noisy patches, if the data are pairs
    labels: np.ndarray | None = None  # (N,) int64, if the data have classes


class Batch(NamedTuple):
    clean: torch.Tensor  # (B, C, H, W) float32 in [0, 1]
    recorded: torch.Tensor | None  # real noisy patches, if the data are pairs
    labels: torch.Tensor | None  # (B,) int64
    generator: torch.Generator  # for the noise

    def share(self) -> "Batch":
        """This process's share of the batch."""
        recorded, labels = (None if part is None else distributed.share(part) for part in (self.recorded, self.labels))
        return Batch(distributed.share(self.clean), recorded, labels, self.generator)


class Batches(Protocol):
    """Source of batches for `fit`."""

    batch: int  # patches per step, over all processes
    steps_per_epoch: int

    def __call__(self, step: int) -> Batch: ...


def build(
    stock: TrainingPatches, batch: int, crop: int | None, augment: Augment, seed: int, device: torch.device
) -> Batches:
    """Batches of crops. The patches are kept on the device if they fill at most half of its free memory.

    With several processes, they must fit in all of them; otherwise all stream.
    """
    if isinstance(augment, Albumentations):
        return AugmentedBatches(stock, batch, crop, augment, seed, device)
    size = sum(part.nbytes for part in stock if part is not None)
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cpu" else 1  # sharing the memory
    fits = torch.tensor(int(size * sharing <= RESIDENT_SHARE * devices.free_bytes(device)), device=device)
    kind = ResidentBatches if int(distributed.total(fits)) == distributed.world_size() else StreamedBatches
    return kind(stock, batch, crop, augment.kind == "d4", seed, device)


class Order:
    """Indices of the patches of a step, on `device`, so that no step needs a transfer."""

    def __init__(self, patches: int, batch: int, seed: int, device: torch.device | str = "cpu"):
        self.patches, self.seed, self.device = patches, seed, device
        self.batch = min(batch, patches)
        self.steps_per_epoch = patches // self.batch
        self._epoch: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def __call__(self, step: int) -> torch.Tensor:
        epoch, turn = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            generator = seeding.generator(self.seed, "epoch", epoch)
            self._epoch = (epoch, torch.randperm(self.patches, generator=generator).to(self.device))
        return self._epoch[1][turn * self.batch : (turn + 1) * self.batch]


class Held(NamedTuple):
    """Patches on the device: all training patches, or those of a step."""

    clean: torch.Tensor
    noisy: torch.Tensor | None
    labels: torch.Tensor | None


class CroppedBatches(ABC):
    """Crops, flips and quarter turns on the device in one gather, without per-sample Python."""

    def __init__(
        self, stock: TrainingPatches, order: Order, crop: int | None, turns: bool, seed: int, device: torch.device
    ):
        self.size, self.white = stock.clean.shape[1], _white(stock)
        self.crop = min(crop or self.size, self.size)
        self.turns = turns
        self.order = order
        self.batch, self.steps_per_epoch = order.batch, order.steps_per_epoch
        self.seed = seed
        self.device = device

    def __call__(self, step: int) -> Batch:
        generator = seeding.generator(self.seed, "batch", step, device=self.device)
        held, chosen = self._patches(step)
        rows, columns = self._places(len(chosen), generator)

        def gather(patches: torch.Tensor) -> torch.Tensor:
            places = chosen[:, None, None], rows, columns
            if patches.dtype == torch.uint16:  # gathered as int16, as CUDA has few operations on uint16
                return _to_float(patches.view(torch.int16)[places].view(torch.uint16), self.white)
            return _to_float(patches[places], self.white)

        noisy = None if held.noisy is None else gather(held.noisy)
        return Batch(gather(held.clean), noisy, None if held.labels is None else held.labels[chosen], generator)

    @abstractmethod
    def _patches(self, step: int) -> tuple[Held, torch.Tensor]:
        """Patches on the device, and the indices (B,) of those that the step uses."""

    def _places(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and column of every pixel of every crop, (B, crop, crop): random corner, one of 8 orientations."""

        def draw(high: int) -> torch.Tensor:
            return torch.randint(high, (count, 1, 1), generator=generator, device=self.device)

        along = torch.arange(self.crop, device=self.device)
        down, across = along[None, :, None], along[None, None, :]
        if self.turns:
            flip_down, flip_across, transpose = draw(2), draw(2), draw(2)
            down = torch.where(flip_down == 1, self.crop - 1 - down, down)
            across = torch.where(flip_across == 1, self.crop - 1 - across, across)
            down, across = torch.where(transpose == 1, across, down), torch.where(transpose == 1, down, across)
        room = self.size - self.crop + 1
        top, left = draw(room), draw(room)
        return top + down, left + across


class ResidentBatches(CroppedBatches):
    """All patches stay on the device."""

    def __init__(
        self, stock: TrainingPatches, batch: int, crop: int | None, turns: bool, seed: int, device: torch.device
    ):
        super().__init__(stock, Order(len(stock.clean), batch, seed, device), crop, turns, seed, device)
        self.held = Held(*(None if part is None else _resident(part, device) for part in stock))  # type: ignore[arg-type]

    def _patches(self, step: int) -> tuple[Held, torch.Tensor]:
        return self.held, self.order(step)


class StreamedBatches(CroppedBatches):
    """Patches stay on disk or in main memory; threads gather those of the next steps while the device computes.

    On CUDA they are copied from pinned memory on a separate stream. Each of several processes gathers its share.
    """

    def __init__(
        self, stock: TrainingPatches, batch: int, crop: int | None, turns: bool, seed: int, device: torch.device
    ):
        super().__init__(stock, Order(len(stock.clean), batch, seed), crop, turns, seed, device)
        self.stock = stock
        self.all = torch.arange(self.order.batch, device=device)
        self._copying = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._threads = ThreadPoolExecutor(GATHERING_THREADS)
        self._next = 0
        self._ahead: deque[Future[tuple[Held, torch.cuda.Event | None]]] = deque()

    def _patches(self, step: int) -> tuple[Held, torch.Tensor]:
        if step != self._next:
            self._ahead.clear()  # gathered for other steps
        while len(self._ahead) <= STEPS_AHEAD:
            rows = distributed.share(self.order(step + len(self._ahead))).numpy()
            self._ahead.append(self._threads.submit(self._gathered, rows))
        self._next = step + 1
        held, copied = self._ahead.popleft().result()
        if copied:
            computing = torch.cuda.current_stream(self.device)
            computing.wait_event(copied)
            for part in held:
                if part is not None:
                    part.record_stream(computing)  # its memory is reused for copies only after this stream has read it
        whole = (None if part is None else distributed.gather(part, self.batch) for part in held)
        return Held(*whole), self.all  # type: ignore[arg-type]

    def _gathered(self, rows: np.ndarray) -> tuple[Held, torch.cuda.Event | None]:
        """The patches at `rows`, on the device once the event (if any) has happened."""
        parts = [None if part is None else torch.from_numpy(part[rows]) for part in self.stock]
        if not self._copying:
            return Held(*parts), None  # type: ignore[arg-type]
        with torch.cuda.stream(self._copying):
            to_device = partial(torch.Tensor.to, device=self.device, non_blocking=True)
            parts = [None if part is None else to_device(part.pin_memory()) for part in parts]
            return Held(*parts), self._copying.record_event()  # type: ignore[arg-type]


class AugmentedBatches:
    """Patches through an albumentations pipeline in worker processes, then a random crop.

    Each of several processes augments its share of a batch.
    """

    def __init__(
        self,
        stock: TrainingPatches,
        batch: int,
        crop: int | None,
        augment: Albumentations,
        seed: int,
        device: torch.device,
    ):
        self.order = Order(len(stock.clean), batch, seed)
        self.steps = _Steps(stock, crop, augment, self.order, seed)
        self.batch, self.steps_per_epoch = self.order.batch, self.order.steps_per_epoch
        self.labels = None if stock.labels is None else _resident(stock.labels, device)
        self.workers = augment.workers
        self.white = _white(stock)
        self.seed = seed
        self.device = device
        self._next = -1
        self._loaded: Iterator[tuple[torch.Tensor, torch.Tensor | None]] = iter(())

    def __call__(self, step: int) -> Batch:
        if step != self._next:
            self._loaded = iter(())  # ends the workers before new ones are forked
            loader = DataLoader(
                self.steps,
                batch_size=None,
                sampler=range(step, 2**62),
                num_workers=self.workers,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # otherwise it changes the state of torch's global generator
            )
            self._loaded = iter(loader)
        self._next = step + 1
        try:
            clean, noisy = next(self._loaded)
        except UserError as error:  # raised in a worker: its text holds the traceback
            raise UserError(str(error).splitlines()[-1].rpartition("UserError: ")[2]) from None
        generator = seeding.generator(self.seed, "batch", step, device=self.device)
        recorded = None if noisy is None else self._whole(noisy)
        labels = None if self.labels is None else self.labels[self.order(step).to(self.device)]
        return Batch(self._whole(clean), recorded, labels, generator)

    def _whole(self, share: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) float32 on the device, from all processes' shares."""
        return _to_float(distributed.gather(share.to(self.device, non_blocking=True), self.batch), self.white)


class _Steps(Dataset[tuple[torch.Tensor, torch.Tensor | None]]):
    """Item `step`: this process's share of the step's augmented crops, (B, H, W, C) uint8."""

    def __init__(self, stock: TrainingPatches, crop: int | None, augment: Albumentations, order: Order, seed: int):
        from denoiselab.imaging import albumentations_adapter

        self.clean, self.noisy, self.order, self.seed = stock.clean, stock.noisy, order, seed
        self.own = slice(distributed.rank(), None, distributed.world_size())
        self.crop = min(crop or stock.clean.shape[1], stock.clean.shape[1])
        self.apply = albumentations_adapter.Pipeline(tuple(augment.transforms))
        self._one(0, 0, 0)  # a mistake in the settings is raised here, not in a worker

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        rows = list(enumerate(self.order(step).tolist()))
        pairs = [self._one(step, n, row) for n, row in rows[self.own]]
        clean = torch.from_numpy(np.stack([pair[0] for pair in pairs]))
        noisy = [pair[1] for pair in pairs if pair[1] is not None]
        return clean, torch.from_numpy(np.stack(noisy)) if noisy else None

    def _one(self, step: int, n: int, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        key = seeding.key(self.seed, "augment", step, n)
        clean, noisy = self.apply(self.clean[row], None if self.noisy is None else self.noisy[row], key)
        crop = self.crop
        if min(clean.shape[:2]) < crop:
            size = f"{clean.shape[1]}x{clean.shape[0]}"
            raise UserError(f"augment.transforms: a patch became {size}, smaller than the {crop}-pixel crop")
        top, left = (key // 97 % (clean.shape[0] - crop + 1), key // 9973 % (clean.shape[1] - crop + 1))
        place = np.s_[top : top + crop, left : left + crop]
        return clean[place], None if noisy is None else noisy[place]


def _resident(array: Pixels, device: torch.device) -> torch.Tensor:
    """Move to the device, holding one copy in memory: shards are read one at a time."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(array if array.flags.writeable else np.array(array)).to(device)
    whole = torch.empty(array.shape, dtype=torch.from_numpy(array[0].copy()).dtype, device=device)
    for start, block in array.blocks():
        whole[start : start + len(block)] = torch.from_numpy(block)
    return whole


def _white(stock: TrainingPatches) -> int:
    return stock.clean.white if isinstance(stock.clean, Stack) else depths.white(stock.clean.dtype)


def _to_float(pixels: torch.Tensor, white: int) -> torch.Tensor:
    """Convert (B, H, W, C) to (B, C, H, W) float32, white 1."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(white)
