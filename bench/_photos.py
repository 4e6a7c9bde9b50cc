"""Photographs of the benchmarks: float32 (H, W, 3) in [0, 1]."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from denoiselab.imaging import dataset_images


def spread(files: Sequence[Path], count: int) -> Sequence[Path]:
    """At most `count` of the files, evenly spread."""
    return files[:: max(1, len(files) // count)][:count]


def read(path: Path) -> np.ndarray:
    return dataset_images.read(path, 3).astype(np.float32) / 255


def noisy_of(clean: Path) -> np.ndarray:
    """The noisy photograph NAME_real.JPG of the clean one NAME_mean.JPG, as in PolyU."""
    return read(clean.with_name(clean.name.replace("_mean", "_real")))
