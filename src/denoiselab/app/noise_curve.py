"""Noise curve of a photo, by the released model that suits its noise."""

import numpy as np

from denoiselab.app import denoisers
from denoiselab.app.model_choice import choose
from denoiselab.noise import curve
from denoiselab.noise.analysis import Estimate

CROP = 256  # pixels, a side
CROPS = 4  # along each side of a large photo


def measure(pixels: np.ndarray, estimate: Estimate, device: str = "auto") -> tuple[curve.Curve | None, ...]:
    """Noise curve of each channel of an image (H, W, C) in [0, 1] with that noise; None where too little is flat.

    Empty for clean images and for impulses, which have no curve. Of images above a megapixel, crops are restored.
    """
    if estimate.kind in ("clean", "impulse"):
        return ()
    name, _ = choose(estimate, pixels.shape[2])
    denoiser = denoisers.load(name if name == "real" else f"{name}_fast")
    noisy = _crops(pixels)
    restored = [denoiser.restore(crop, device=device) for crop in noisy]
    white = estimate.kind != "correlated"
    return tuple(
        curve.measure([crop[:, :, c] for crop in noisy], [crop[:, :, c] for crop in restored], white)
        for c in range(pixels.shape[2])
    )


def _crops(pixels: np.ndarray) -> list[np.ndarray]:
    height, width = pixels.shape[:2]
    if height * width <= (CROP * CROPS) ** 2:
        return [pixels]
    return [
        np.ascontiguousarray(pixels[y : y + CROP, x : x + CROP], np.float32)
        for y in _starts(height)
        for x in _starts(width)
    ]


def _starts(size: int) -> list[int]:
    """Where the crops along a side of that many pixels begin: spread evenly, without overlap."""
    count = max(1, min(CROPS, size // CROP))
    return [round(n) for n in np.linspace(0, max(0, size - CROP), count)]
