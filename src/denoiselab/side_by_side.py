"""One picture through several denoisers: what comes out, how long it takes and how near it is to the clean one."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from denoiselab import denoisers, metrics

INPUT, CLEAN = "input", "clean"


@dataclass(frozen=True)
class Version:
    """The picture as one denoiser restored it, as it was given (`input`), or `clean`."""

    name: str
    pixels: np.ndarray  # (H, W, C) uint8
    seconds: float | None = None  # of restoring alone
    psnr: float | None = None  # dB, by the report's definition
    ssim: float | None = None

    def numbers(self) -> dict[str, str | float | None]:
        return {"name": self.name, "seconds": self.seconds, "psnr": self.psnr, "ssim": self.ssim}

    def facts(self) -> str:
        """What is known, in fields of equal width."""
        facts = [
            f"{self.seconds:6.2f} s" if self.seconds is not None else " " * 8,
            f"{self.psnr:6.2f} dB" if self.psnr is not None else "",
            f"SSIM {self.ssim:.4f}" if self.ssim is not None else "",
        ]
        return "  ".join(facts).rstrip()

    def caption(self) -> str:
        """Two lines: the name, then what is known."""
        return f"{self.name}\n{self.facts().strip()}"


def suitable(entries: Sequence[denoisers.Entry], channels: int) -> list[str]:
    """Names of the denoisers that were made for pictures of so many channels, classical ones for any.

    ValueError where there is none.
    """
    names = [entry.name for entry in entries if entry.channels == channels or entry.origin == "classical"]
    if not names:
        kind = "gray" if channels == 1 else "colour"
        raise ValueError(f"no model for {kind} pictures; there: {', '.join(e.name for e in entries) or 'none at all'}")
    return names


def versions(
    pixels: np.ndarray, loaded: Sequence[denoisers.Denoiser], clean: np.ndarray | None = None
) -> Iterator[Version]:
    """The input, what each denoiser makes of it, and the clean picture if there is one; all (H, W, C) in [0, 1].

    ValueError where `clean` has another shape.
    """
    if clean is not None and clean.shape != pixels.shape:
        raise ValueError(f"the clean picture is {_size(clean)}, the noisy one {_size(pixels)}: they are no pair")
    yield _version(INPUT, pixels, None, clean)
    for denoiser in loaded:
        began = time.perf_counter()
        restored = denoiser.restore(pixels)
        seconds = time.perf_counter() - began
        yield _version(denoiser.entry.name, np.clip(restored, 0, 1), seconds, clean)
    if clean is not None:
        yield Version(CLEAN, metrics.to_uint8(clean))


def _version(name: str, pixels: np.ndarray, seconds: float | None, clean: np.ndarray | None) -> Version:
    """Scored as in the report: what was restored in 8 bits, the input as it is."""
    shown = metrics.to_uint8(pixels)
    if clean is None:
        return Version(name, shown, seconds)
    scored = pixels if name == INPUT else shown.astype(np.float32) / 255
    large = min(clean.shape[:2]) > 2 * metrics.SSIM_RADIUS
    ssim = metrics.ssim(clean, scored, data_range=1) if large else None
    return Version(name, shown, seconds, metrics.capped_psnr(clean, scored, data_range=1), ssim)


def _size(pixels: np.ndarray) -> str:
    height, width, channels = pixels.shape
    return f"{width} x {height} {'gray' if channels == 1 else 'colour'}"
