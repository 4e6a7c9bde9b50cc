"""Time, memory and page size of stage compare with many models, test conditions, images and noise draws.

    python -m bench.compare [--models 12] [--images 40] [--draws 2] [--samples 3]

Photos, noise and files are real, and the only models are calibrated filters. The scores are random and the example
outputs are blurred inputs, because restoring all images would take an hour.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from bench._project import python, scratch
from bench._show import show, sizes
from bench._stages import of_photographs, prepare, train
from denoiselab import config
from denoiselab.data import noise_sampling, noisy_sets
from denoiselab.evaluation import example_outputs
from denoiselab.evaluation.score_tables import ImageScore, LevelScore, summarise, write
from denoiselab.metrics import image_quality
from denoiselab.runtime import files, paths, stage_outputs

COMPARED = """\
Stage compare as a whole process: {models} models, {conditions} test conditions, {images} colour photos of 480x320
pixels, {draws} noise draws and {samples} example outputs per model and condition. It writes tables, pairwise tests,
figures, report.md and report.html. There is no baseline: run it with different sizes to see how the cost grows."""
SIGMAS = (15, 25, 35, 50, 75)
SHAPE = (320, 480)  # pixels


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, models=(12, 2), images=(40, 2), draws=(2, 1), samples=(3, 1))
    sigmas = SIGMAS[:1] if args.quick else SIGMAS
    with scratch():
        tree = of_photographs(args.images, SHAPE, "noise=blind55", "model=[gaussian]")
        tree["protocol"]["draws"], tree["evaluate"]["samples"] = args.draws, args.samples
        tree["patches"] |= {"size": 64, "stride": 64, "val_size": 64, "scales": [1.0]}
        tree["noise"]["test"] = {f"sigma{s}": tree["noise"]["test"]["sigma25"] | {"sigma_255": s} for s in sigmas}
        tree["models"] = {f"m{n:02d}": tree["models"]["gaussian"] | {"strengths": [1.0]} for n in range(args.models)}
        files.write_text(Path("params.yaml"), json.dumps(tree))  # JSON is YAML
        params = config.load()
        prepare(params)
        rng = np.random.default_rng(0)
        for name in params.models:
            train(params, name)
            _evaluate(params, name, rng)
        done = python("-m", "pipeline.compare")
        page = paths.REPORT_HTML.stat().st_size / 1e6
    about = {key: getattr(args, key) for key in ("models", "images", "draws", "samples")} | {"conditions": len(sigmas)}
    row = about | {"s": done.seconds, "CPU s": done.cpu_s, "peak MiB": done.peak_mib, "report.html MB": page}
    show("compare", COMPARED.format(**about), [row])


def _evaluate(params: config.Params, name: str, rng: np.random.Generator) -> None:
    """Write the outputs of stage evaluate, with random scores."""
    strength = rng.uniform(0, 3)
    rows: list[ImageScore] = []
    levels = [
        LevelScore(name, s, test.image, 20 + strength, 0.7) for s, test in noise_sampling.curve(paths.RAW, params)
    ]
    with example_outputs.keeping(paths.samples(name), params.evaluate.samples) as keeper:
        for key in noisy_sets.names(paths.NOISY):
            condition = noisy_sets.read(paths.NOISY, key)
            for n, test in enumerate(noisy_sets.test(paths.RAW, paths.NOISY, key, params.data.channels, draw=0)):
                about = (name, key, condition.protocol.name, condition.protocol.sha256)
                for draw in range(params.protocol.draws):
                    psnr = float(30 + strength + 3 * np.sin(n) + rng.normal(0, 0.3) - condition.sigma_255 / 10)
                    where = ("test", test.image, test.label, test.group, draw, params.seed)
                    rows.append(ImageScore(*about, *where, psnr, psnr / 40, 10 ** (-psnr / 10), 0, 0))
                restored = image_quality.to_uint8(cv2.GaussianBlur(test.noisy, None, 0.5 + strength / 3))
                keeper.add(key, test.image, rows[-1].psnr - 20, restored)
    write(paths.evaluation(name) / "per_image.csv", rows, ImageScore)
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    files.write_json(paths.evaluation(name) / "metrics.json", summarise(rows, 0))
    files.write_json(paths.evaluation(name) / "alarms.json", [])
    cost = {"ms_per_megapixel": rng.uniform(1, 1000), "device": "none", "macs_per_megapixel": None}
    stage_outputs.record_evaluation(name, cost | {"weights_mb": 0.1, "peak_mib": 500.0})


if __name__ == "__main__":
    main()
