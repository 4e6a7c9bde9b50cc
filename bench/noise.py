"""Throughput of synthetic noise on the CPU: MB of float32 per second, by kind of noise.

    python -m bench.noise [--batch 16] [--side 256] [--rounds 7]

`real` is left out because it draws nothing. 1 MB is 10^6 bytes.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from bench._show import show, sizes
from denoiselab.config.noise import NoiseSpec
from denoiselab.noise import synthesis
from denoiselab.runtime import seeding

COMPARED = """\
Every kind of synthetic noise, added to a batch of smooth, slightly textured colour images: {shape} float32 ({mb:.1f}
MB), on the CPU with {threads} threads; median of {rounds}."""
FREE = {"clip": False, "quantise": False}
EIGHT_BIT = {"clip": True, "quantise": True}
GAUSSIAN = {"kind": "gaussian", "sigma_255": 25, "per_channel": True} | FREE
SPECKLE = {"kind": "speckle", "sigma": 0.2} | FREE
SPECS: dict[str, dict[str, Any]] = {
    "gaussian": GAUSSIAN,
    "gaussian, range": GAUSSIAN | {"sigma_255": [0, 55]},
    "gaussian, 8 bits": GAUSSIAN | EIGHT_BIT,
    "poisson": {"kind": "poisson", "photons": 30} | FREE,
    "poisson_gaussian": {"kind": "poisson_gaussian", "gain": 0.5, "read_noise": 3} | EIGHT_BIT,
    "camera": {"kind": "camera", "gain": 0.5, "read_noise": 3} | EIGHT_BIT,
    "camera_jpeg": {
        "kind": "camera_jpeg",
        "shot": [0.00005, 0.012],
        "sharpening": [0, 1],
        "luma_blur": [0, 1.2],
        "chroma_blur": [0, 3],
        "quality": [75, 100],
    }
    | EIGHT_BIT,
    "speckle": SPECKLE,
    "salt_pepper": {"kind": "salt_pepper", "amount": 0.2, "salt": 0.5, "per_channel": True} | EIGHT_BIT,
    "uniform": {"kind": "uniform", "width_255": 40} | FREE,
    "jpeg": {"kind": "jpeg", "quality": 40} | EIGHT_BIT,
    "webp": {"kind": "webp", "quality": 40} | EIGHT_BIT,
    "iso": {"kind": "iso", "color_shift": [0.01, 0.05], "intensity": [0.1, 0.5]} | EIGHT_BIT,
    "multiplicative": {"kind": "multiplicative", "factor": [0.9, 1.1], "per_channel": True, "per_pixel": True}
    | EIGHT_BIT,
    "downscale, bicubic": {"kind": "downscale", "factor": 2, "method": "bicubic"} | EIGHT_BIT,
    "downscale, area": {"kind": "downscale", "factor": 2, "method": "area"} | EIGHT_BIT,
    "sometimes": {"kind": "sometimes", "p": 0.5, "noise": GAUSSIAN} | FREE,
    "chain of two": {"kind": "chain", "steps": [GAUSSIAN, SPECKLE]} | FREE,
}


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, batch=(16, 1), side=(256, 64), rounds=(7, 1))
    clean = _images(args.batch, args.side)
    adapter: TypeAdapter[NoiseSpec] = TypeAdapter(NoiseSpec)
    rows = []
    for name, spec in SPECS.items():
        seconds = _seconds(clean, adapter.validate_python(spec), args.rounds)
        rows.append({"noise": name, "MB/s": clean.nbytes / 1e6 / seconds, "ms": 1000 * seconds})
    shape, threads = " x ".join(map(str, clean.shape)), torch.get_num_threads()
    show("noise", COMPARED.format(shape=shape, mb=clean.nbytes / 1e6, threads=threads, rounds=args.rounds), rows)


def _images(batch: int, side: int) -> torch.Tensor:
    generator = seeding.generator("bench", "noise")
    coarse = torch.rand((batch, 3, 8, 8), generator=generator)
    smooth = F.interpolate(coarse, (side, side), mode="bicubic")
    return (smooth + 0.03 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def _seconds(clean: torch.Tensor, spec: NoiseSpec, rounds: int) -> float:
    """Median seconds per batch."""
    generator, times = seeding.generator("bench"), []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        synthesis.add(clean, generator, spec)
        times.append(time.perf_counter() - started)
    return median(times[1:])  # the first round warms up


if __name__ == "__main__":
    main()
