"""Supervision, set by `train.target`: loss against the clean patch, or self-supervised from the noisy patch alone.

`self` is Neighbor2Neighbor (Huang, Li, Jia, Lu, Liu: Neighbor2Neighbor: Self-Supervised Denoising from Single Noisy
Images, CVPR 2021). Two images of half the size are sampled from a noisy image y: g1(y) and g2(y), neighbouring pixels
of every 2x2 cell. They show nearly the same scene under independent noise, so f(g1(y)) can be fitted to g2(y) as in
Noise2Noise. The regulariser accounts for the half-pixel shift between the two:

    |f(g1 y) - g2 y|^2 + gamma |f(g1 y) - g2 y - (g1 f(y) - g2 f(y))|^2,    f(y) without gradient.

Works for any network and any zero-mean noise that is independent from pixel to pixel.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F

from denoiselab.runtime import distributed
from denoiselab.training.batches import Batch

# Weight of the regulariser; the authors' code increases it from 0 to 2. With 0, 1 and 2 a small DnCNN reaches 26.40,
# 26.49 and 25.90 dB after 400 steps on the embedded photographs (sigma 25); trained on clean images, 27.43 dB.
GAMMA = 1.0
PAIRS = (  # (g1, g2): indices of the neighbouring pixels of a 2x2 cell, counted row by row, in both orders
    *((0, 1), (1, 0), (2, 3), (3, 2)),
    *((0, 2), (2, 0), (1, 3), (3, 1)),
)

Objective = Callable[[torch.Tensor, Batch], torch.Tensor]  # (output, batch) -> loss


class Network(Protocol):
    """The model in training. A noise-aware model is given the level computed from `clean`, or else estimates it."""

    def __call__(
        self, noisy: torch.Tensor, labels: torch.Tensor | None, clean: torch.Tensor | None = None
    ) -> torch.Tensor: ...


Supervise = Callable[[Network, torch.Tensor, Batch, Objective], torch.Tensor]


def supervised(network: Network, noisy: torch.Tensor, whole: Batch, objective: Objective) -> torch.Tensor:
    """Loss against the clean patches or labels, for this process's share of the batch."""
    batch = whole.share()
    return objective(network(distributed.share(noisy), batch.labels, batch.clean), batch)


def neighbor2neighbor(network: Network, noisy: torch.Tensor, whole: Batch, objective: Objective) -> torch.Tensor:
    """Neighbor2Neighbor loss for this process's share of `noisy` (B, C, H, W); does not use clean pixels.

    `objective` must be a function of the difference between output and target. Every process draws the sampled pixels
    of the whole batch, from the batch's generator.
    """
    one, two = map(distributed.share, draw_subsamples(noisy, whole.generator))
    own, batch = distributed.share(noisy), whole.share()
    with torch.no_grad():
        restored = network(own, batch.labels)
    output, target = network(subsample(own, one), batch.labels), subsample(own, two)
    corrected = target + subsample(restored, one) - subsample(restored, two)
    losses = [objective(output, batch._replace(clean=wanted)) for wanted in (target, corrected)]
    return losses[0] + GAMMA * losses[1]


def draw_subsamples(images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the pixels of g1 and g2 in every 2x2 cell of (N, C, H, W): two index maps (N, H // 2, W // 2), 0 to 3."""
    shape = len(images), images.shape[2] // 2, images.shape[3] // 2
    drawn = torch.randint(len(PAIRS), shape, generator=generator, device=images.device)
    one, two = torch.tensor(PAIRS, device=images.device).T
    return one[drawn], two[drawn]


def subsample(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The chosen pixel of every 2x2 cell of (N, C, H, W), the same in all channels: (N, C, H // 2, W // 2)."""
    height, width = (2 * size for size in chosen.shape[1:])
    cells = F.pixel_unshuffle(images[:, :, :height, :width], 2).unflatten(1, (-1, 4))
    return cells.gather(2, chosen[:, None, None].expand(-1, cells.shape[1], -1, -1, -1)).squeeze(2)


SUPERVISION: dict[str, Supervise] = {"clean": supervised, "self": neighbor2neighbor}
