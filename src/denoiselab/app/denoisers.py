"""Denoisers, ready to use: `known` and `trained` list them, `load` loads one, `estimate` and `choose` pick one for an
image.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiselab.app.model_catalogue import (
    STRENGTHS,
    Entry,
    Measured,
    described,
    known,
    measured,
    named,
    path_name,
    released,
    resolved,
    trained,
)
from denoiselab.app.model_choice import choose
from denoiselab.noise.analysis import Estimate, estimate
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from denoiselab.models.tiled_inference import Progress

__all__ = [
    "STRENGTHS",
    "Denoiser",
    "Entry",
    "Estimate",
    "Measured",
    "choose",
    "estimate",
    "known",
    "load",
    "measured",
    "released",
    "resolved",
    "trained",
]

TILE = 1024  # pixels: larger ones are hardly faster
SMALLEST_TILE = 128
BYTES_PER_PIXEL = 1024  # of a tile, for a network's features; 17 layers of 64 need 768
# Per pixel without tiling; measured: up to 68 bytes (nlm in colour), and 1246 for NAFNet of width 32.
CLASSICAL_BYTES, NET_BYTES = 80, 1280
MLFLOW = ("models:/", "runs:/")


class Denoiser:
    """A loaded denoiser. `restore` moves `module` to its device: do not use a Denoiser on two devices at a time."""

    def __init__(
        self, entry: Entry, module: "nn.Module", gray: "nn.Module | None" = None, weights_sha256: str | None = None
    ):
        """`gray` replaces `module` for gray images, if given. `weights_sha256` is that of the weights file."""
        self.entry = entry
        self.module = module
        self.gray = gray
        self.weights_sha256 = weights_sha256
        self.channels = entry.channels

    @property
    def reach(self) -> int | None:
        """Radius of the receptive field in pixels; None: the whole image, so that tiling is impossible."""
        return getattr(self.module, "reach", None)

    def takes_level(self, channels: int) -> bool:
        """Whether it uses a given noise level for an image of `channels` channels."""
        return bool(getattr(self.module, "noise_aware", False)) or (channels == 1 and self.channels == 3)

    def whole_bytes(self, pixels: int) -> int:
        """Memory for an image of `pixels` pixels without tiling; 0 if tiles are adapted to the free memory."""
        if self.reach is not None:
            return 0
        return pixels * (CLASSICAL_BYTES if self.entry.origin == "classical" else NET_BYTES)

    def restore(
        self,
        pixels: np.ndarray,
        *,
        sigma_255: float | None = None,
        device: str = "auto",
        tile: int | None = None,
        jobs: int = 1,
        progress: "Progress | None" = None,
    ) -> np.ndarray:
        """Restore an image (H, W, C), C 1 or 3, in [0, 1] plus noise; returns float32, not clipped.

        A colour network restores a gray image through `_colour_of_gray`; a gray network restores each colour channel
        separately. `sigma_255` is the noise level, for denoisers that use it; None: estimated. `tile` is the tile size
        in pixels; None: chosen by the free memory, which `jobs` parallel calls share. `progress` is called after each
        tile of a large image with the share done, from 0 to 1. UserError if there is too little memory for a model
        without tiling.

        Values far below 0 or above 1 are carried around the model, see value_range.
        """
        from denoiselab.app import value_range
        from denoiselab.runtime import devices

        chosen = devices.choose(device, "--device")
        devices.prepare(chosen)
        free = devices.free_bytes(chosen)
        self._check_memory(pixels, free)
        tile = tile or _tile(free // jobs, self.reach or 0)
        pixels, excess = value_range.split(pixels, sigma_255)
        restored = self._by_channels(pixels, sigma_255, chosen, tile, progress)
        return restored if excess is None else restored + excess

    def _by_channels(
        self,
        pixels: np.ndarray,
        sigma_255: float | None,
        device: "torch.device",
        tile: int,
        progress: "Progress | None",
    ) -> np.ndarray:
        given = pixels.shape[2]
        if given == self.channels or self.gray is not None:
            return self._restored(pixels, sigma_255, device, tile, progress)
        if given == 1:
            level = estimate(pixels).sigma_255 if sigma_255 is None else sigma_255
            restored = self._restored(_colour_of_gray(pixels, level), 3**0.5 * level, device, tile, progress)
            return restored.mean(axis=2, keepdims=True)
        planes = []
        for c in range(given):
            of_plane = (lambda share, c=c: progress((c + share) / given)) if progress else None
            planes.append(self._restored(pixels[:, :, c : c + 1], sigma_255, device, tile, of_plane))
        return np.concatenate(planes, axis=2)

    def _check_memory(self, pixels: np.ndarray, free: int) -> None:
        needed = self.whole_bytes(pixels.shape[0] * pixels.shape[1])
        if needed > free:
            raise UserError(
                f"{self.entry.name} works without tiling: {pixels.shape[1]} x {pixels.shape[0]} pixels need about "
                f"{needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; use a model with tiling, such as "
                "colour or gray, or a smaller image"
            )

    def _restored(
        self,
        pixels: np.ndarray,
        sigma_255: float | None,
        device: "torch.device",
        tile: int,
        progress: "Progress | None",
    ) -> np.ndarray:
        from denoiselab.models import tiled_inference
        from denoiselab.runtime import devices

        module = self.gray if self.gray is not None and pixels.shape[2] == 1 else self.module
        return tiled_inference.restore(
            module.to(device),
            pixels,
            device=device,
            sigma_255=sigma_255,
            tile=tile,
            precision=devices.precision("auto", device),
            progress=progress,
        )


def _colour_of_gray(pixels: np.ndarray, sigma_255: float) -> np.ndarray:
    """Input (H, W, 3) for a colour network, with the gray image (H, W, 1) as the mean of its channels.

    A colour network mistakes noise that is equal in all channels for texture. Added white noise that sums to zero over
    the channels, with twice the image's noise variance in each, makes their noise independent: the covariance is
    s^2 - 2 s^2 / 2 = 0.
    """
    noise = np.random.default_rng(0).standard_normal((*pixels.shape[:2], 3), np.float32)
    noise -= noise.mean(axis=2, keepdims=True)  # leaves 2/3 of the variance
    return pixels + np.float32(3**0.5 * sigma_255 / 255) * noise


def load(reference: str, root: Path = Path(), *, quality: str = "best") -> Denoiser:
    """Load a denoiser by its name, its path or its MLflow address.

    A name is one of `known`, independent of the workspace `root`, or a family such as colour: its size `quality` (fast
    or best), or the one that there is. A path contains a slash, is relative to `root` and leads to a folder with
    model.json or to a weights file in one. MLflow addresses are models:/name@alias, models:/name/1 and runs:/id/model.
    UserError if there is no such model or it is damaged.
    """
    reference = resolved(reference, quality)
    if reference.startswith(MLFLOW):
        if find_spec("mlflow") is None:
            raise UserError(f"model {reference!r} needs MLflow: pip install 'denoiselab[experiments]'")
        from denoiselab.tracking import model_download

        with model_download.fetched(reference) as folder:
            return _loaded(described(folder, name=reference, origin="trained"))
    if not _is_path(reference):
        return _loaded(named(reference, root))
    path = root / reference
    name = path_name(path, root)
    if path.is_file():
        return _loaded(described(path.parent, name=name, origin="trained"), weights=path.stem)
    if not path.is_dir():
        raise UserError(f"model {reference!r}: no such folder or weights file")
    return _loaded(described(path, name=name, origin="trained"))


def _is_path(reference: str) -> bool:
    return reference in (".", "..") or "/" in reference or os.sep in reference


def _loaded(entry: Entry, weights: str | None = None) -> Denoiser:
    from denoiselab.models import model_store

    if entry.folder == STRENGTHS.parent:
        return Denoiser(entry, _classical(entry.name, 3), _classical(entry.name, 1))
    import torch

    module = model_store.load(entry.folder, weights)
    digests = model_store.read_card(entry.folder)["weights"]
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster
    return Denoiser(entry, module, weights_sha256=digests[weights or next(iter(digests))])


def _classical(method: str, channels: int) -> "nn.Module":
    """BM3D, or a method with the strengths in strengths.csv."""
    from denoiselab import architectures

    if method == "bm3d":
        return architectures.build({"arch": method, "channels": channels}).eval()
    rows = [row for row in files.read_csv(STRENGTHS) if (row["method"], row["channels"]) == (method, str(channels))]
    strengths = {float(row["sigma_255"]): float(row["strength"]) for row in rows}
    block = {"arch": "classical", "channels": channels, "method": method, "strengths": list(strengths.values())}
    module: Any = architectures.build(block)
    module.set_strengths(strengths)
    return module.eval()


def _tile(free: int, reach: int) -> int:
    """Tile size such that a tile and its margin need at most half of the free memory."""
    from denoiselab.models.tiled_inference import GRID

    tile = TILE
    while tile > SMALLEST_TILE and (tile + 2 * (reach + GRID)) ** 2 * BYTES_PER_PIXEL > free // 2:
        tile //= 2
    return tile
