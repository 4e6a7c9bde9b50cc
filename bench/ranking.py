"""Agreement between the ranking of models without clean images (held-out pixels) and their true ranking by PSNR.

python -m bench.ranking --pairs FOLDER [--images 25] [--models real colour_fast ...]

FOLDER has pairs NAME_real.JPG and NAME_mean.JPG, as PolyU's folder CroppedImages; --sigma adds white noise of that
level to the clean images instead. Without a folder: the embedded photos with white noise.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bench import _photos
from bench._show import show, sizes
from denoiselab.app import denoisers
from denoiselab.data.readers import embedded
from denoiselab.metrics import image_quality, no_reference

COMPARED = """\
Per image, the models are ranked by PSNR and by the no-reference scores. `agreement`: fraction of the pairs of models
more than 0.1 dB apart that both put in the same order; `best found`: fraction of the images on which the model put
first is within 0.1 dB of the best; `lost dB`: mean PSNR of the best minus that of the model put first."""
MODELS = ["real", "colour_best", "colour_fast", "nlm", "bilateral", "tv", "wavelet", "median", "gaussian"]
APART_DB = 0.1


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, pairs=("", ""), sigma=(0, 0), images=(25, 1), models=(MODELS, MODELS[-2:]))
    loaded = {name: denoisers.load(name) for name in args.models}
    true, scores = [], {"held-out pixels": [], "structure": []}
    for noisy, clean in _images(args):
        restored = {name: one.restore(noisy) for name, one in loaded.items()}
        masked = no_reference.mask_array(noisy)
        true.append([image_quality.psnr(clean, np.clip(own, 0, 1), data_range=1) for own in restored.values()])
        found = [no_reference.measures(noisy, own, loaded[name].restore(masked)) for name, own in restored.items()]
        scores["held-out pixels"].append([row["held_out"] for row in found])
        scores["structure"].append([-abs(row["structure"]) for row in found])
    rows = [_row(name, np.array(true), np.array(values)) for name, values in scores.items()]
    means = dict(zip(args.models, np.round(np.mean(true, 0), 2).tolist(), strict=True))
    show("ranking", COMPARED, rows, psnr=means)


def _row(score: str, true: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """How well `found` (images, models) ranks the models on each image."""
    same = [
        (t[a] - t[b]) * (f[a] - f[b]) > 0
        for t, f in zip(true, found, strict=True)
        for a, b in combinations(range(len(t)), 2)
        if abs(t[a] - t[b]) > APART_DB
    ]
    lost = true.max(1) - true[np.arange(len(true)), found.argmax(1)]
    return {
        "score": score,
        "images": len(true),
        "models": true.shape[1],
        "agreement": float(np.mean(same)),
        "best found": float((lost < APART_DB).mean()),
        "lost dB": float(lost.mean()),
    }


def _images(args: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Noisy and clean images (H, W, 3) in [0, 1]."""
    rng = np.random.default_rng(0)
    files = (
        sorted(Path(args.pairs).glob("*_mean.JPG"))
        if args.pairs
        else [embedded._locate(n) for n in embedded.COLOUR["test"]]
    )
    for path in _photos.spread(files, args.images):
        clean = _photos.read(path)
        if args.pairs and not args.sigma:
            noisy = _photos.noisy_of(path)
        else:
            noisy = clean + rng.normal(0, (args.sigma or 25) / 255, clean.shape).astype(np.float32)
        yield noisy, clean


if __name__ == "__main__":
    main()
