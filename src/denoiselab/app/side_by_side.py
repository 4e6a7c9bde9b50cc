"""One image restored by several denoisers, with times and, given the clean image, scores."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from denoiselab.app import denoisers, strength
from denoiselab.imaging import photos
from denoiselab.metrics import image_quality
from denoiselab.runtime.errors import UserError

if TYPE_CHECKING:
    from denoiselab.models.tiled_inference import Progress

INPUT, CLEAN = "input", "clean"


@dataclass(frozen=True)
class Score:
    """Quality compared with the clean image."""

    psnr: float  # dB
    ssim: float | None  # None: the image is smaller than the SSIM window


@dataclass(frozen=True)
class Version:
    """The image as restored by a denoiser, as given (`input`), or `clean`."""

    name: str
    pixels: np.ndarray  # (H, W, C) float32, not clipped
    seconds: float | None = None  # without loading
    score: Score | None = None
    kept: strength.Kept | None = None  # of noise and detail, below strength 1

    def numbers(self) -> dict[str, str | float | None]:
        psnr, ssim = (self.score.psnr, self.score.ssim) if self.score else (None, None)
        return {"name": self.name, "seconds": self.seconds, "psnr": psnr, "ssim": ssim}

    def facts(self) -> str:
        """Time and scores, in fields of equal width."""
        facts = [f"{self.seconds:6.2f} s" if self.seconds is not None else " " * 8]
        if self.score:
            facts.append(f"{self.score.psnr:6.2f} dB")
            facts += [f"SSIM {self.score.ssim:.4f}"] if self.score.ssim is not None else []
        return "  ".join(facts).rstrip()

    def caption(self) -> str:
        """Two lines: the name, then time and scores."""
        return f"{self.name}\n{self.facts().strip()}"


def suitable(entries: Sequence[denoisers.Entry], channels: int) -> list[str]:
    """Names of the denoisers for images of `channels` channels; classical ones suit any. UserError if there are
    none."""
    names = [entry.name for entry in entries if entry.channels == channels or entry.origin == "classical"]
    if not names:
        kind = "gray" if channels == 1 else "colour"
        raise UserError(f"no model for {kind} images; available: {', '.join(e.name for e in entries) or 'none'}")
    return names


def versions(
    photo: photos.Photo, loaded: Sequence[denoisers.Denoiser], clean: np.ndarray | None = None
) -> Iterator[Version]:
    """The photo, each denoiser's result, and the `clean` image (H, W, C) in [0, 1] if given. UserError if its shape
    differs from the photo's."""
    if clean is not None and clean.shape != photo.pixels.shape:
        raise UserError(f"the clean image is {_size(clean)}, the noisy one {_size(photo.pixels)}; they must match")
    yield Version(INPUT, photo.pixels, None, score(clean, photo.pixels))
    for denoiser in loaded:
        yield restored(denoiser, photo, photo.pixels, clean)
    if clean is not None:
        yield Version(CLEAN, clean)


def restored(
    denoiser: denoisers.Denoiser,
    photo: photos.Photo,
    noisy: np.ndarray,
    clean: np.ndarray | None,
    share: float = 1.0,
    progress: "Progress | None" = None,
) -> Version:
    """Restore `noisy` (H, W, C), blended with it at a strength `share`; the score is that of the result rounded to the
    photo's bit depth. `progress`: see Denoiser.restore."""
    began = time.perf_counter()
    estimated = denoiser.restore(noisy, progress=progress)
    pixels = strength.blend(noisy, estimated, share)
    seconds = time.perf_counter() - began
    kept = strength.kept(noisy, estimated, share) if share < 1 else None
    return Version(denoiser.entry.name, pixels, seconds, score(clean, photos.at_depth(photo, pixels)), kept)


def score(clean: np.ndarray | None, other: np.ndarray) -> Score | None:
    """PSNR and SSIM of (H, W, C) float32 as in the report, without clipping; None without `clean`."""
    if clean is None:
        return None
    large = min(clean.shape[:2]) > 2 * image_quality.SSIM_RADIUS
    ssim = image_quality.ssim(clean, other, data_range=1) if large else None
    return Score(image_quality.capped_psnr(clean, other, data_range=1), ssim)


def _size(pixels: np.ndarray) -> str:
    height, width, channels = pixels.shape
    return f"{width} x {height} {'gray' if channels == 1 else 'colour'}"
