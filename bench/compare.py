"""How long the report takes, and how much memory and page: stage compare for many models, conditions, images and draws.

    python -m bench.compare [--models 20] [--images 100] [--draws 3] [--samples 3]

Real photographs (crops of scikit-image's), noise, files and trainings of nothing but a strength; the scores are drawn
at random and the kept pictures are blurred, because restoring them all would take an hour.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from dvc.utils.hydra import compose_and_dump

from denoiselab import cases, conditions, config, draws, experiment, files, images, metrics, patches, paths, planning
from denoiselab.config import Params
from denoiselab.data.fetch import fetch
from denoiselab.scores import LevelScore, Score, summarise, write

SIGMAS = (15, 25, 35, 50, 75)
SHAPE = (320, 480)  # pixels
ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"models": 20, "images": 100, "draws": 3, "samples": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        params = _params(args)
        files.write_text(Path("params.yaml"), params.model_dump_json(exclude_unset=True))  # JSON is YAML
        _prepare(params)
        found = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pipeline.compare"], check=True, env=found)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        page = paths.REPORT_HTML.stat().st_size / 1e6
        print(f"{args.models} models x {len(SIGMAS)} conditions x {args.images} images x {args.draws} draws:")
        print(f"compare: {seconds:.1f} s, {peak:.0f} MiB, report.html {page:.1f} MB")


def _params(args: argparse.Namespace) -> Params:
    overrides = [
        "data=folder",
        "data.path=photos",
        "noise=blind55",
        "model=[gaussian]",
        f"evaluate.samples={args.samples}",
    ]
    compose_and_dump("params.yaml", str(ROOT / "conf"), None, "config", None, overrides)
    tree = config.load().model_dump(mode="json", exclude_unset=True)
    tree["protocol"]["draws"], tree["evaluate"]["samples"] = args.draws, args.samples
    tree["patches"] |= {"size": 64, "stride": 64, "val_size": 64, "scales": [1.0]}
    tree["noise"]["test"] = {f"sigma{s}": tree["noise"]["test"]["sigma25"] | {"sigma_255": s} for s in SIGMAS}
    tree["models"] |= {f"m{n:02d}": tree["models"]["gaussian"] for n in range(args.models - 1)}
    del tree["models"]["gaussian"]
    share = args.images / (args.images + 20)
    tree["data"] |= {"split": {"train": (1 - share) / 2, "val": (1 - share) / 2, "test": share}, "allow_leak": True}
    _photographs(args.images + 20)
    return Params.model_validate(tree)


def _photographs(number: int) -> None:
    """Different crops of scikit-image's photographs, turned and mirrored."""
    import skimage

    folder, rng = Path(skimage.__file__).parent / "data", np.random.default_rng(0)
    whole = [images.read(folder / f"{name}.png", 3) for name in ("astronaut", "coffee", "motorcycle_left")]
    Path("photos").mkdir()
    for n in range(number):
        image = whole[n % len(whole)]
        y, x = (rng.integers(0, max(1, image.shape[d] - SHAPE[d] + 1)) for d in (0, 1))
        images.write_png(Path("photos") / f"{n:03d}.png", image[y : y + SHAPE[0], x : x + SHAPE[1]][:, :: (-1) ** n])


def _prepare(params: Params) -> None:
    """What every stage but compare leaves."""
    fetch(params.data, paths.RAW)
    patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES)
    draws.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
    rng = np.random.default_rng(0)
    for name in params.models:
        plans = planning.plans(params, name)
        experiment.record(plans, [experiment.run(plan, lambda step, row: None) for plan in plans])
        _evaluate(params, name, rng)


def _evaluate(params: Params, name: str, rng: np.random.Generator) -> None:
    strength = rng.uniform(0, 3)
    rows: list[Score] = []
    levels = [LevelScore(name, s, test.image, 20 + strength, 0.7) for s, test in draws.curve(paths.RAW, params)]
    with cases.keeping(paths.samples(name), params.evaluate.samples) as keeper:
        for key in conditions.names(paths.NOISY):
            condition = conditions.read(paths.NOISY, key)
            for n, test in enumerate(conditions.test(paths.RAW, paths.NOISY, key, params.data.channels, draw=0)):
                about = (name, key, condition.protocol.name, condition.protocol.sha256)
                for draw in range(params.protocol.draws):
                    psnr = float(30 + strength + 3 * np.sin(n) + rng.normal(0, 0.3) - condition.sigma_255 / 10)
                    where = ("test", test.image, test.label, test.group, draw, params.seed)
                    rows.append(Score(*about, *where, psnr, psnr / 40, 10 ** (-psnr / 10)))
                restored = metrics.to_uint8(cv2.GaussianBlur(test.noisy, None, 0.5 + strength / 3))
                keeper.add(key, test.image, rows[-1].psnr - 20, restored)
    write(paths.evaluation(name) / "per_image.csv", rows, Score)
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    files.write_json(paths.evaluation(name) / "metrics.json", summarise(rows, 0))
    files.write_json(paths.evaluation(name) / "alarms.json", [])
    cost = {"ms_per_megapixel": rng.uniform(1, 1000), "device": "none", "macs_per_megapixel": None}
    files.write_json(paths.inference_cost(name), cost | {"weights_mb": 0.1, "peak_mib": 500.0})


if __name__ == "__main__":
    main()
