"""BM3D and, for colour, CBM3D: similar blocks are stacked and denoised together in a transform domain. No training.

Dabov, Foi, Katkovnik, Egiazarian: Image denoising by sparse 3-D transform-domain collaborative filtering. IEEE TIP 2007
(normal profile); Color image denoising via sparse 3D collaborative filtering with grouping constraint in
luminance-chrominance space. ICIP 2007. Above sigma 40: Hou, Zhao, Yang, Cheng: Comments on "Image denoising by sparse
3-D transform-domain collaborative filtering". IEEE TIP 2011. Analysis: Lebrun, IPOL 2012.

Difference: the sum of the squared Wiener coefficients, by which a group is weighted, is at least 1. tau_match is 3000
in the first step, as in the authors' program (paper: 2500).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pywt
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import nn

from denoiselab.architectures._layers import noise_level
from denoiselab.config.base import Block, Channels

HIGH_NOISE = 40.0  # sigma_255 above which the high-noise profile applies
SEARCH = 19  # pixels: blocks are searched for at most this far from the reference block
KAISER_BETA = 2.0
TILE = 72  # pixels along the side of a tile, at most; bounds the memory
CHUNK = 64  # groups of N2 blocks that are filtered at a time: they fit the processor's cache
OPPONENT = [[1 / 3, 1 / 3, 1 / 3], [1 / 2, 0, -1 / 2], [1 / 4, -1 / 2, 1 / 4]]  # luminance and two chrominances of RGB


class Step(NamedTuple):
    """Parameters of a step, named as in Table I of the paper."""

    transform: str  # 2-D: bior1.5 or dct
    block: int  # N1, pixels
    stride: int  # Nstep, pixels between reference blocks
    members: int  # N2, largest number of blocks in a group; a power of two
    distance: float  # tau_match, largest mean squared difference from the reference block, of 8-bit values
    threshold: float = 0.0  # lambda_3D, in units of the noise level; the Wiener step has none


class Config(Block):
    channels: Channels


NORMAL = Step("bior1.5", 8, 3, 16, 3000, 2.7), Step("dct", 8, 3, 32, 400)
HIGH = Step("bior1.5", 8, 4, 32, 25000, 2.8), Step("dct", 11, 6, 32, 3500)


class BM3D(nn.Module):
    classical = True
    noise_aware = True
    reach = None

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    @torch.no_grad()
    def forward(self, noisy: torch.Tensor, sigma_255: float | torch.Tensor | None = None) -> torch.Tensor:
        """Denoise (N, C, H, W) in float32; sigma_255: noise level, a number or (N,); None: estimated for each image."""
        levels = 255 * noise_level(noisy.float(), sigma_255).expand(len(noisy))
        with torch.autocast(noisy.device.type, enabled=False):
            restored = [self._restored(*pair) for pair in zip(noisy.float(), levels.tolist(), strict=True)]
        return torch.stack(restored).to(noisy)

    def _restored(self, noisy: torch.Tensor, level: float) -> torch.Tensor:
        """Denoise (C, H, W) with noise of standard deviation `level` / 255."""
        if level <= 0:
            return noisy.clone()
        first, second = HIGH if level > HIGH_NOISE else NORMAL
        colours = torch.tensor(OPPONENT if self.channels == 3 else [[1.0]], dtype=torch.float64)
        colours /= colours.norm(dim=1, keepdim=True) * level / 255  # to unit noise in every channel
        scale = float(255 * colours[0].sum().reciprocal())  # of the luminance, in 8-bit units
        planes = _mixed(colours, noisy)
        height, width = noisy.shape[1:]
        side = max(first.block, second.block)
        planes = F.pad(planes[None], (0, max(0, side - width), 0, max(0, side - height)), mode="replicate")[0]
        basic = _filtered(planes, planes, first, scale)
        final = _filtered(planes, basic, second, scale)
        return _mixed(colours.inverse(), final[:, :height, :width])


def _mixed(matrix: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Linear combinations of the channels of (C, H, W)."""
    return torch.einsum("dc,chw->dhw", matrix.to(planes), planes)


def _filtered(noisy: torch.Tensor, guide: torch.Tensor, step: Step, scale: float) -> torch.Tensor:
    """One step on (C, H, W) with unit noise: hard thresholding, or Wiener filtering with the spectrum of `guide`.

    Blocks are matched by the first channel of `guide`; `scale` converts it to 8-bit units.
    """
    total, weight = torch.zeros_like(noisy), torch.zeros_like(noisy)
    for rows in _tiles(noisy.shape[1], step):
        for columns in _tiles(noisy.shape[2], step):
            (top, bottom), (left, right) = (
                (max(0, corners[0] - SEARCH), min(side, corners[-1] + SEARCH + step.block))
                for corners, side in ((rows, noisy.shape[1]), (columns, noisy.shape[2]))
            )
            part = ..., slice(top, bottom), slice(left, right)
            references = [row - top for row in rows], [column - left for column in columns]
            sums, weights = _tile(noisy[part], guide[part], references, step, scale)
            total[part] += sums
            weight[part] += weights
    return total.div_(weight)


def _tiles(side: int, step: Step) -> list[list[int]]:
    """Corners of the reference blocks along a side, in tiles."""
    last = side - step.block
    corners = [*range(0, last, step.stride), last]
    return [part.tolist() for part in np.array_split(corners, min(len(corners), -(-side // TILE)))]


def _tile(
    noisy: torch.Tensor, guide: torch.Tensor, references: tuple[list[int], list[int]], step: Step, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum (C, H, W) of the blocks restored in the groups of these reference blocks, and sum of the weights.

    Blocks are transformed before they are grouped and transformed back after their estimates are summed, once for each
    position.
    """
    channels, size, block = noisy.shape[0], noisy.shape[1:], step.block
    forward, backward, window = _transform(step.transform, block, noisy.device)
    indices, matches = _matched(_blocks(guide[:1], block)[:, 0], references, size, step, scale)
    spectra = _blocks(noisy, block) @ forward
    expected = None if step.threshold else _blocks(guide, block) @ forward
    sums, weights = torch.zeros_like(spectra), spectra.new_zeros(spectra.shape[:2])
    for stacked in (1 << n for n in range(step.members.bit_length())):  # group sizes are powers of two
        fitting = (matches >= stacked) & ((matches < 2 * stacked) | (stacked == step.members))
        for chosen in indices[fitting, :stacked].split(CHUNK * step.members // stacked):
            members = chosen.T.flatten()  # (stacked * groups)
            haar = _haar(stacked, noisy.device)
            group = _along_stack(haar, spectra[members])
            if expected is None:
                kept = group.abs() > step.threshold
                weight = kept.sum(-1).view(stacked, -1, channels).sum(0)
                group *= kept
            else:
                wiener = _along_stack(haar, expected[members]).square_()
                wiener /= wiener + 1
                weight = wiener.square().sum(-1).view(stacked, -1, channels).sum(0)
                group *= wiener
            weight = weight.clamp(min=1).reciprocal().repeat(stacked, 1)
            sums.index_add_(0, members, _along_stack(haar.T, group).mul_(weight[..., None]))
            weights.index_add_(0, members, weight)
    total = F.fold(backward @ sums.permute(1, 2, 0), size, block)[:, 0]
    corners = weights.T.view(channels, size[0] - block + 1, -1)
    return total, _spread(_spread(corners, window, 1), window, 2)


def _spread(weights: torch.Tensor, window: torch.Tensor, along: int) -> torch.Tensor:
    """Sums, along a dimension, of a window times the weight at each of its first positions."""
    shape = list(weights.shape)
    shape[along] += len(window) - 1
    result = weights.new_zeros(shape)
    for start, factor in enumerate(window):
        result.narrow(along, start, weights.shape[along]).add_(weights * factor)
    return result


def _blocks(planes: torch.Tensor, block: int) -> torch.Tensor:
    """All blocks of (C, H, W), by the position of their corners, row by row: (positions, C, block * block)."""
    views = planes.unfold(1, block, 1).unfold(2, block, 1)
    return views.permute(1, 2, 0, 3, 4).reshape(-1, len(planes), block * block)


def _along_stack(matrix: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    """Multiply the stacks of all groups, (stacked * groups, C, block * block), by a matrix."""
    return (matrix @ blocks.view(len(matrix), -1)).view_as(blocks)


def _matched(
    blocks: torch.Tensor, references: tuple[list[int], list[int]], size: torch.Size, step: Step, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (groups, N2) of the blocks nearest to each reference block, itself first, and how many match.

    `blocks` (positions, block * block): all of an image of `size`. Squared distances |a|^2 - 2 ab + |b|^2 are products
    of (a, 1, |a|^2) and (-2 b, |b|^2, 1).
    """
    rows, columns = references
    down, across = (side - step.block + 1 for side in size)
    blocks = (blocks - blocks.mean(1).mean()).view(down, across, -1)  # less cancellation
    norms = blocks.square().sum(2, keepdim=True)
    given = torch.cat((blocks, torch.ones_like(norms), norms), 2)
    top, left = max(0, SEARCH - rows[0]), max(0, SEARCH - columns[0])
    right, bottom = max(0, columns[-1] + SEARCH + 1 - across), max(0, rows[-1] + SEARCH + 1 - down)
    margin = 0, 0, left, right, top, bottom
    norms = F.pad(norms, margin, value=torch.inf)  # blocks outside the image are infinitely far
    sought = torch.cat((F.pad(-2 * blocks, margin), norms, torch.ones_like(norms)), 2)
    window = 2 * SEARCH + 1
    corners = torch.tensor(columns, device=blocks.device)
    within = corners[:, None, None] + torch.arange(left - SEARCH, left + SEARCH + 1, device=blocks.device)
    distances = _distances(given[rows][:, columns], sought, [row + top - SEARCH for row in rows], within)
    distances[:, window**2 // 2] = -1  # the reference block, whatever the rounding
    nearest = distances.topk(step.members, largest=False)
    here = (torch.tensor(rows, device=blocks.device)[:, None] * across + corners).view(-1, 1)
    offsets = (nearest.indices // window - SEARCH) * across + nearest.indices % window - SEARCH
    return here + offsets, (nearest.values <= step.distance * step.block**2 / scale**2).sum(1)


def _distances(given: torch.Tensor, sought: torch.Tensor, starts: list[int], within: torch.Tensor) -> torch.Tensor:
    """Products of `given` (rows, columns, K) with those of `sought` (height, width, K) in the search windows:
    (rows * columns, positions in the window).

    The windows of row n begin in row starts[n]; `within` (columns, 1, width of the window): their columns. Rows are
    multiplied in pairs: unlike a single product, a batch does not depend on the number of threads.
    """
    (_, width, depth), size = sought.shape, within.shape[2]
    within = within.expand(2, -1, size, -1)
    found = []
    for first in range(0, len(starts), 2):
        start, apart = starts[first], starts[min(first + 1, len(starts) - 1)] - starts[first]
        bands = sought[start:].as_strided((2, depth, size * width), (apart * width * depth, 1, depth))
        pair = given[first : first + 2].expand(2, -1, -1) @ bands
        found.append(pair.view(2, -1, size, width).gather(3, within))
    return torch.cat(found)[: len(starts)].flatten(2).flatten(0, 1)


@lru_cache
def _transform(name: str, block: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Matrix from a block to its 2-D spectrum (of row vectors), matrix from a spectrum to the block times the Kaiser
    window (of column vectors), and the window in one dimension."""
    one = dct(np.eye(block), axis=0, norm="ortho") if name == "dct" else _wavelet(name, block)
    window = np.kaiser(block, KAISER_BETA)
    back = window[:, None] * np.linalg.inv(one)
    forward, backward, weights = (
        torch.from_numpy(matrix).float().to(device) for matrix in (np.kron(one, one).T, np.kron(back, back), window)
    )
    return forward, backward, weights


@lru_cache
def _haar(size: int, device: torch.device) -> torch.Tensor:
    """Orthonormal Haar transform of `size` values, a power of two."""
    return torch.from_numpy(_wavelet("haar", size)).float().to(device)


def _wavelet(name: str, size: int) -> np.ndarray:
    """Periodic wavelet decomposition of `size` values, a power of two, to the coarsest level; its rows have norm 1."""
    coarse, details = np.eye(size), []
    while len(coarse) > 1:
        coarse, detail = pywt.dwt(coarse, name, mode="periodization", axis=0)
        details.append(detail)
    rows = np.concatenate([coarse, *reversed(details)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def build(config: Config) -> nn.Module:
    return BM3D(config.channels)
