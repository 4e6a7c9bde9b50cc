"""Training batches from resident patches: crops, flips and quarter turns in one gather, no per-sample Python."""

import numpy as np
import torch

from denoiselab import seeding

Batch = tuple[torch.Tensor, torch.Generator]  # clean (B, C, H, W) float32 in [0, 1]; the generator for its noise


class Batches:
    """Batch `step` is a pure function of (seed, step), so a resumed training sees what it would have seen.

    `patches` is (N, H, W, C) uint8 with H = W and lies on the device. An epoch goes through all of them
    in a new order; a last, smaller batch is dropped.
    """

    def __init__(self, patches: np.ndarray, batch: int, crop: int | None, seed: int, device: torch.device):
        self.patches = torch.from_numpy(np.array(patches)).to(device)
        self.size = patches.shape[1]
        self.crop = crop or self.size
        self.batch = min(batch, len(patches))
        self.steps_per_epoch = len(patches) // self.batch
        self.seed = seed
        self.device = device
        self._order: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def __call__(self, step: int) -> Batch:
        generator = seeding.generator(self.seed, "batch", step, device=self.device)
        epoch, turn = divmod(step, self.steps_per_epoch)
        chosen = self._epoch(epoch)[turn * self.batch : (turn + 1) * self.batch]
        rows, columns = self._places(generator)
        clean = self.patches[chosen[:, None, None], rows, columns]  # (B, crop, crop, C)
        return clean.permute(0, 3, 1, 2).to(torch.float32).div_(255), generator

    def _epoch(self, epoch: int) -> torch.Tensor:
        if self._order[0] != epoch:
            generator = seeding.generator(self.seed, "epoch", epoch)
            self._order = (epoch, torch.randperm(len(self.patches), generator=generator).to(self.device))
        return self._order[1]

    def _places(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and column of every pixel of every crop, (B, crop, crop): a random corner and one of 8 orientations."""

        def draw(high: int) -> torch.Tensor:
            return torch.randint(high, (self.batch, 1, 1), generator=generator, device=self.device)

        along = torch.arange(self.crop, device=self.device)
        down, across = along[None, :, None], along[None, None, :]
        flip_down, flip_across, transpose = draw(2), draw(2), draw(2)
        down = torch.where(flip_down == 1, self.crop - 1 - down, down)
        across = torch.where(flip_across == 1, self.crop - 1 - across, across)
        room = self.size - self.crop + 1
        top, left = draw(room), draw(room)
        return top + torch.where(transpose == 1, across, down), left + torch.where(transpose == 1, down, across)
