"""Noise throughput on the CPU: MB of float32 a second, by kind of noise.

    python -m bench.noise [--batch 16] [--side 256] [--rounds 7]

A batch of smooth colour images with some texture, (batch, 3, side, side) float32, gets each kind of noise; the median
of the rounds counts. `real` draws nothing and is left out; 1 MB is 10^6 bytes.
"""

import argparse
import json
import os
import time
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from denoiselab import noise, seeding
from denoiselab.config.noise import NoiseSpec

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    clean = _images(args.batch, args.side)
    adapter: TypeAdapter[NoiseSpec] = TypeAdapter(NoiseSpec)
    rates = {
        name: clean.nbytes / 1e6 / _seconds(clean, adapter.validate_python(spec), args.rounds)
        for name, spec in SPECS.items()
    }
    threads = f"{torch.get_num_threads()} threads, {os.cpu_count()} cores"
    print(f"noise on {'x'.join(map(str, clean.shape))} float32 ({clean.nbytes / 1e6:.1f} MB), CPU, {threads}")
    for name, rate in rates.items():
        print(f"{name:<28}{rate:>10.1f} MB/s")
    print(json.dumps({"bench": "noise", "shape": list(clean.shape), "mb_per_s": rates}))


def _images(batch: int, side: int) -> torch.Tensor:
    generator = seeding.generator("bench", "noise")
    coarse = torch.rand((batch, 3, 8, 8), generator=generator)
    smooth = F.interpolate(coarse, (side, side), mode="bicubic")
    return (smooth + 0.03 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def _seconds(clean: torch.Tensor, spec: NoiseSpec, rounds: int) -> float:
    """Median seconds a batch."""
    generator, times = seeding.generator("bench"), []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        noise.add(clean, generator, spec)
        times.append(time.perf_counter() - started)
    return median(times[1:])  # the first round warms up


if __name__ == "__main__":
    main()
