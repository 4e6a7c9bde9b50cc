"""Errors of the noise curve that `denoiselab estimate --curve` shows, on images whose noise is known.

python -m bench.noise_curve [--clean FOLDER] [--pairs FOLDER] [--images 25]

--clean has clean colour images, by default the embedded ones; --pairs has pairs NAME_real.JPG and NAME_mean.JPG, as
PolyU's folder CroppedImages.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import _photos
from bench._show import show, sizes
from denoiselab.app import denoisers, noise_curve
from denoiselab.data.readers import embedded
from denoiselab.noise import curve
from denoiselab.noise.analysis import Estimate

COMPARED = """\
Synthetic noise with the variance slope x signal + at_black (white is 1): error of the curve's variance at middle
gray, in green. Pairs: the curve of the noisy image, in its flat areas, against the same measurement in the noise
itself, the difference to the mean of many shots; mean variance over the curve, and correlation length."""
LINES = ((0.0005, 0.00005), (0.01, 0.0004), (0.0, 0.0004), (0.0, 0.0096))
SYNTHETIC = Estimate(0, "signal-dependent", "")
GREEN = 1


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, clean=("", ""), pairs=("", ""), images=(25, 1))
    rows = [_row(f"{slope:g} x signal + {at_black:g}", _synthetic(args, slope, at_black)) for slope, at_black in LINES]
    if args.pairs:
        files = _photos.spread(sorted(Path(args.pairs).glob("*_mean.JPG")), args.images)
        variances, lengths = zip(*map(_pair, files), strict=True)
        rows += [_row("pairs, variance", variances), _row("pairs, correlation length", lengths)]
    show("noise_curve", COMPARED, rows)


def _row(what: str, errors: Sequence[float]) -> dict[str, Any]:
    size = np.abs(errors)
    return {
        "noise": what,
        "images": len(errors),
        "median error %": 100 * float(np.median(errors)),
        "within 10 %": float((size < 0.1).mean()),
        "within 20 %": float((size < 0.2).mean()),
        "largest error %": 100 * float(size.max()),
    }


def _synthetic(args: Any, slope: float, at_black: float) -> list[float]:
    errors, rng = [], np.random.default_rng(0)
    for image in _clean(args.clean, args.images):
        noise = rng.normal(0, 1, image.shape) * np.sqrt(slope * image + at_black)
        found = noise_curve.measure((image + noise).astype(np.float32), SYNTHETIC)[GREEN]
        if found:
            errors.append((found.sigma_255(0.5) / 255) ** 2 / (slope / 2 + at_black) - 1)
    return errors


def _clean(folder: str, count: int) -> Iterator[np.ndarray]:
    own = [embedded._locate(name) for name in (*embedded.COLOUR["train"], *embedded.COLOUR["val"])]
    yield from map(_photos.read, _photos.spread(sorted(Path(folder).iterdir()) if folder else own, count))


def _pair(path: Path) -> tuple[float, float]:
    """Relative errors of the mean variance and of the correlation length; `path`: the clean photograph."""
    clean, noisy = _photos.read(path), _photos.noisy_of(path)
    restored = denoisers.load("real").restore(noisy)[:, :, GREEN]
    found, true = (curve.measure([part[:, :, GREEN]], [restored], white=False) for part in (noisy, noisy - clean))
    assert found and true, path
    lengths = found.correlation_length / true.correlation_length
    return float(np.mean(found.variance) / np.mean(true.variance)) - 1, lengths - 1


if __name__ == "__main__":
    main()
