"""Calibrate the classical methods that ship with the package: src/denoiselab/app/strengths.csv.

python -m bench.strengths [--side 160] [--out src/denoiselab/app/strengths.csv]

As in stage train (denoiselab.training.calibration), the strength at each noise level is the one with the best mean
PSNR, here on crops of the embedded colour photos for training and validation (not test), in colour and in luma. The
noise is Gaussian. For the median it is salt and pepper on whole pixels, with the level that the classical methods
estimate. Takes minutes on two cores; results are the same on all machines up to rounding.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from bench._project import ROOT
from denoiselab import architectures
from denoiselab.app import denoisers
from denoiselab.architectures import classical
from denoiselab.config.noise import Gaussian, NoiseSpec, SaltPepper
from denoiselab.data.readers import embedded
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.noise import synthesis
from denoiselab.runtime import files, seeding
from denoiselab.training import calibration

SIGMAS = (2.0, 5.0, 10.0, 15.0, 25.0, 35.0, 50.0, 75.0)
AMOUNTS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)  # of salt and pepper
COLUMNS = ["method", "channels", "sigma_255", "strength", "psnr", "psnr_noisy"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=160, help="side of a crop, pixels (default: 160)")
    parser.add_argument("--out", type=Path, default=denoisers.STRENGTHS, help="output file")
    args = parser.parse_args(argv)
    rows = [row for channels in (1, 3) for method in classical.METHODS for row in _rows(method, channels, args.side)]
    files.write_csv(args.out, COLUMNS, rows)


class _Noisy:
    """Crops at several noise levels; has the interface of denoiselab.training.validation.Validation."""

    def __init__(self, clean: torch.Tensor, specs: Sequence[NoiseSpec], level: Callable[[torch.Tensor, Any], float]):
        self.clean = clean
        self.noisy = {}
        for spec in specs:
            noisy = synthesis.add(clean, seeding.generator("strengths", spec.model_dump_json()), spec)
            self.noisy[level(noisy, spec)] = noisy
        self.levels = list(self.noisy)

    def __call__(self, model: Any, only: float) -> dict[str, float]:
        with torch.inference_mode():
            return {"psnr": self._psnr(model(self.noisy[only], only).clamp(0, 1))}

    def before(self, level: float) -> float:
        """PSNR of the noisy crops."""
        return self._psnr(self.noisy[level])

    def _psnr(self, restored: torch.Tensor) -> float:
        pairs = zip(self.clean.numpy(), restored.numpy(), strict=True)
        return float(np.mean([image_quality.psnr(clean, image, data_range=1) for clean, image in pairs]))


def _rows(method: str, channels: int, side: int) -> list[dict[str, Any]]:
    block = yaml.safe_load((ROOT / f"conf/model/{method}.yaml").read_text(encoding="utf-8"))
    model: Any = architectures.build(
        {"arch": "classical", "channels": channels, "method": method, "strengths": block["strengths"]}
    )
    if method == "median":
        keys = {"clip": True, "quantise": False, "kind": "salt_pepper", "salt": 0.5, "per_channel": False}
        noisy = _Noisy(_crops(channels, side), [SaltPepper(amount=a, **keys) for a in AMOUNTS], _estimated)
    else:
        keys = {"clip": False, "quantise": False, "kind": "gaussian", "per_channel": True}
        specs = [Gaussian(sigma_255=sigma, **keys) for sigma in SIGMAS]
        noisy = _Noisy(_crops(channels, side), specs, lambda noisy, spec: spec.sigma_255)
    trials = calibration.calibrate(model, noisy)  # type: ignore[arg-type]
    rows = []
    for level, strength in zip(model.levels.tolist(), model.strengths.tolist(), strict=True):
        best = max(row["val_psnr"] for row in trials if row["sigma_255"] == level)
        values = (method, channels, round(level, 2), round(strength, 4), round(best, 2), round(noisy.before(level), 2))
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        print(rows[-1], flush=True)
    return rows


def _estimated(noisy: torch.Tensor, spec: Any) -> float:
    """Noise level as the classical methods estimate it, in 8-bit units."""
    return 255 * float(np.mean([classical._estimate(image) for image in noisy.permute(0, 2, 3, 1).numpy()]))


def _crops(channels: int, side: int) -> torch.Tensor:
    """Two crops of each photo: (N, C, side, side) in [0, 1]."""
    crops = []
    for name in (*embedded.COLOUR["train"], *embedded.COLOUR["val"]):
        photo = dataset_images.read(embedded._locate(name), channels)
        height, width = photo.shape[:2]
        for y, x in ((height // 4, width // 5), (height // 2, width // 2)):
            top, left = min(y, height - side), min(x, width - side)
            crops.append(photo[top : top + side, left : left + side].reshape(side, side, channels))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    main()
