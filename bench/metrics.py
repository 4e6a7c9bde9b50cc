"""Speed of PSNR and SSIM on arrays and on tensors, relative to scikit-image with the same definitions.

    python -m bench.metrics [--images 24] [--rounds 5]

The table also shows the largest difference between the scores.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench._project import photographs
from bench._show import show, sizes
from denoiselab.metrics import batched, image_quality
from denoiselab.runtime import devices

COMPARED = """\
PSNR and SSIM (11x11 Gaussian window, sigma 1.5) of {images} colour photos of 480x320 pixels with Gaussian noise of
sigma 25, by scikit-image, by denoiselab.metrics.image_quality, and by denoiselab.metrics.batched (all images at once in
float32) on {device}. ms per megapixel, median of {rounds}. `difference`: the largest from scikit-image, for PSNR in
dB."""
SHAPE, SIGMA = (320, 480), 25
SSIM = {
    "gaussian_weights": True,
    "sigma": image_quality.SSIM_SIGMA,
    "use_sample_covariance": False,
    "channel_axis": -1,
    "data_range": 255,
}


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, images=(24, 2), rounds=(5, 1))
    device = devices.choose("auto")
    clean = np.stack(photographs(args.images, SHAPE))
    noise = np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    noisy = np.round(np.clip(clean + noise, 0, 255)).astype(np.uint8)
    tensors = [torch.from_numpy(array).to(device).movedim(-1, 1).float() / 255 for array in (clean, noisy)]
    rows = []
    for metric, ways in _ways(clean, noisy, tensors).items():
        found = {name: _measured(way, args.rounds) for name, way in ways.items()}
        reference_s, reference = found["scikit-image"]
        for name, (seconds, scores) in found.items():
            rows.append(
                {
                    "metric": metric,
                    "implementation": name,
                    "ms per megapixel": 1000 * seconds / (clean[..., 0].size / 1e6),
                    "speed-up": reference_s / seconds,
                    "difference": float(np.abs(scores - reference).max()),
                }
            )
    about = {"images": args.images, "rounds": args.rounds, "device": devices.describe(device)}
    show("metrics", COMPARED.format(**about), rows)


def _ways(
    clean: np.ndarray, noisy: np.ndarray, tensors: list[torch.Tensor]
) -> dict[str, dict[str, Callable[[], np.ndarray]]]:
    """Functions that return the scores (N,) of all images, by metric and implementation."""

    def one_by_one(score: Callable[..., Any]) -> Callable[[], np.ndarray]:
        return lambda: np.array([score(*pair) for pair in zip(clean, noisy, strict=True)])

    def at_once(score: Callable[..., torch.Tensor]) -> Callable[[], np.ndarray]:
        return lambda: score(*tensors).cpu().numpy()

    return {
        "PSNR": {
            "scikit-image": one_by_one(partial(peak_signal_noise_ratio, data_range=255)),
            "image_quality": one_by_one(partial(image_quality.psnr, data_range=255)),
            "batched": at_once(batched.psnr),
        },
        "SSIM": {
            "scikit-image": one_by_one(partial(structural_similarity, **SSIM)),
            "image_quality": one_by_one(partial(image_quality.ssim, data_range=255)),
            "batched": at_once(batched.ssim),
        },
    }


def _measured(way: Callable[[], np.ndarray], rounds: int) -> tuple[float, np.ndarray]:
    """Median seconds after one warm-up round, and the scores."""
    scores, times = way(), []
    for _ in range(rounds):
        started = time.perf_counter()
        way()
        times.append(time.perf_counter() - started)
    return median(times), scores


if __name__ == "__main__":
    main()
