"""How fast PSNR and SSIM are, of arrays and of tensors, against scikit-image with the same definition.

    python -m bench.metrics [--images 24] [--rounds 5]

All must agree: the largest difference between the scores is shown, too.
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
PSNR and SSIM (11x11 Gaussian window, sigma 1.5) of {images} photographs of 480x320 pixels in colour and of what is left
of them under Gaussian noise of sigma 25: scikit-image, denoiselab.metrics.image_quality and, all images at once in
float32, denoiselab.metrics.batched on {device}. ms per megapixel, median of {rounds}; `off` is the largest difference
from scikit-image, in dB for PSNR."""
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
                    "by": name,
                    "ms per megapixel": 1000 * seconds / (clean[..., 0].size / 1e6),
                    "times as fast": reference_s / seconds,
                    "off": float(np.abs(scores - reference).max()),
                }
            )
    about = {"images": args.images, "rounds": args.rounds, "device": devices.describe(device)}
    show("metrics", COMPARED.format(**about), rows)


def _ways(
    clean: np.ndarray, noisy: np.ndarray, tensors: list[torch.Tensor]
) -> dict[str, dict[str, Callable[[], np.ndarray]]]:
    """What gives the scores (N,) of all images, by metric and library."""

    def one_by_one(score: Callable[..., Any]) -> Callable[[], np.ndarray]:
        return lambda: np.array([score(*pair) for pair in zip(clean, noisy, strict=True)])

    def at_once(score: Callable[..., torch.Tensor]) -> Callable[[], np.ndarray]:
        return lambda: score(*tensors).cpu().numpy()

    return {
        "PSNR": {
            "scikit-image": one_by_one(partial(peak_signal_noise_ratio, data_range=255)),
            "metrics": one_by_one(partial(image_quality.psnr, data_range=255)),
            "batch_metrics": at_once(batched.psnr),
        },
        "SSIM": {
            "scikit-image": one_by_one(partial(structural_similarity, **SSIM)),
            "metrics": one_by_one(partial(image_quality.ssim, data_range=255)),
            "batch_metrics": at_once(batched.ssim),
        },
    }


def _measured(way: Callable[[], np.ndarray], rounds: int) -> tuple[float, np.ndarray]:
    """Median seconds, without those of a first round, and the scores."""
    scores, times = way(), []
    for _ in range(rounds):
        started = time.perf_counter()
        way()
        times.append(time.perf_counter() - started)
    return median(times), scores


if __name__ == "__main__":
    main()
