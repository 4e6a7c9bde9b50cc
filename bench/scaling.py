"""Growth of each stage's time and memory with the data, measured at three sizes and extrapolated to 10^8 patches.

    python -m bench.scaling [--times 1 3 6] [--tests 10 20 40] [--steps 100 200 400]

For each size: the 400 training images of BSDS500 repeated --times, --tests test images, and a training run of --steps.
Without DENOISELAB_MIRROR and network, photos of the same size from installed packages replace BSDS500, and the output
says so. Each stage runs in its own process, whose peak memory is measured.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._project import call, compose, scratch
from bench._show import show, sizes
from bench._stages import fetched
from bench.patchify import CLASSIC
from denoiselab import config
from denoiselab.data import manifest, noise_sampling, patches
from denoiselab.evaluation import scoring
from denoiselab.models import complexity
from denoiselab.runtime import devices, files, paths
from denoiselab.training import jobs, runner

COMPARED = """\
Stages at three sizes on {device}: {data} in colour, patches of the classic recipe (40x40), test noise of sigma 25,
model {model} in batches of {batch}. Seconds without start-up and peak memory of the process; slopes are least-squares
fits to the three sizes. `10^8` is the slope times 10^8 patches: for training, the time of one epoch; empty for
add-noise and evaluate, which do not depend on the number of training patches. Memory of `train: steps` is fitted to the
number of patches stored, not seen; patches that exceed half of the free memory are streamed instead of loaded."""
MODEL = "unet"
MANY = 10**8
VAL_IMAGES = 2
PER_PATCH = ("patches", "patches seen")

Measured = tuple[int, float]  # (units, seconds)


def main(argv: Sequence[str] | None = None) -> None:
    usual = {"times": [1, 3, 6], "tests": [10, 20, 40], "steps": [100, 200, 400]}
    args = sizes(__doc__, argv, **{name: (values, [1, 2, 3]) for name, values in usual.items()})
    found = []
    with scratch() as folder:
        data = fetched(folder / "fetched")
        rows = manifest.read(folder / "fetched")
        for size, (times, tests, steps) in enumerate(zip(args.times, args.tests, args.steps, strict=True)):
            place = folder / str(size)
            images = 20 if args.quick else 400
            _lay_out(place, folder / "fetched", _taken(rows, images, times, tests), steps)
            found.append({stage: _measured(stage, place) for stage in STAGES})
        params = config.load(place / "params.yaml")
    settings = params.training(MODEL)
    device = devices.describe(devices.choose(settings.device))
    stages = [
        _row(stage, [size[stage] for size in found], [size["patchify"]["units"] for size in found]) for stage in STAGES
    ]
    show("scaling", COMPARED.format(device=device, data=data, model=MODEL, batch=settings.batch), stages, sizes=found)


def measure(stage: str) -> None:
    """Run a stage in the working directory; prints units of work, seconds and peak MiB as JSON."""
    params = config.load()
    _, work = STAGES[stage]
    units, seconds = work(params)
    print(json.dumps({"units": units, "seconds": seconds, "mib": complexity.process_peak_mib()}))


def _patchify(params: config.Params) -> Measured:
    started = time.perf_counter()
    counts = patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES, params.parallel)
    return sum(counts.values()), time.perf_counter() - started


def _add_noise(params: config.Params) -> Measured:
    started = time.perf_counter()
    noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
    return len(manifest.read(paths.RAW, "test")), time.perf_counter() - started


def _plan(params: config.Params) -> Measured:
    started = time.perf_counter()
    jobs.resolve(params, MODEL)
    return len(patches.load(paths.PATCHES, "train")), time.perf_counter() - started


def _train(params: config.Params) -> Measured:
    job = jobs.resolve(params, MODEL)
    result = runner.run(job, lambda step, row: None)
    return result.step * job.settings.batch, result.seconds


def _evaluate(params: config.Params) -> Measured:
    started = time.perf_counter()
    scoring.evaluate(params, MODEL)
    return len(manifest.read(paths.RAW, "test")), time.perf_counter() - started


STAGES: dict[str, tuple[str, Callable[[config.Params], Measured]]] = {
    "patchify": ("patches", _patchify),
    "add-noise": ("test images", _add_noise),
    "train: read and hash the patches": ("patches", _plan),
    "train: steps": ("patches seen", _train),
    "evaluate": ("test images", _evaluate),
}


def _taken(rows: list[manifest.Row], images: int, times: int, tests: int) -> list[manifest.Row]:
    """The first `images` rows, repeated `times` times, for training, the next two for validation, then `tests`."""
    training, others = rows[:images], rows[images:]
    again = [replace(row, image=f"{row.image}-{n}", split="train") for n in range(times) for row in training]
    validation = [replace(row, split="val") for row in others[:VAL_IMAGES]]
    test = [replace(row, split="test", sets="") for row in others[VAL_IMAGES : VAL_IMAGES + tests]]
    assert len(test) == tests, f"only {len(others) - VAL_IMAGES} images are left for {tests} tests"
    return [*again, *validation, *test]


def _lay_out(folder: Path, raw: Path, rows: list[manifest.Row], steps: int) -> None:
    """Prepare a folder for the stages: params.yaml and the outputs of fetch."""
    (folder / paths.RAW).mkdir(parents=True)
    (folder / paths.RAW / "fetched").symlink_to(raw.absolute())
    manifest.write(folder / paths.RAW, [replace(row, path=f"fetched/{row.path}") for row in rows])
    tree = compose("data=bsds500", "noise=gaussian25", f"model={MODEL}")
    tree["patches"] = CLASSIC
    tree["evaluate"]["curve"] |= {"levels": [25], "images": 1}  # independent of the size
    tree["train"] |= {"steps": steps, "validate_every": steps, "val_patches": 8}
    tree["models"][MODEL] = {k: v for k, v in tree["models"][MODEL].items() if k not in ("steps", "validate_every")}
    files.write_text(folder / "params.yaml", json.dumps(tree))  # JSON is YAML


def _measured(stage: str, folder: Path) -> dict[str, float]:
    return call("bench.scaling", "measure", stage, cwd=folder, DVC_ROOT=str(folder))


def _row(stage: str, measured: list[dict[str, float]], stored: list[float]) -> dict[str, Any]:
    """A row of the table: sizes and slopes, per million patches or per test image; `stored` counts the patches."""
    unit, _ = STAGES[stage]
    many = 10**6 if unit in PER_PATCH else 1
    units, seconds, mib = (np.array([size[key] for size in measured]) for key in ("units", "seconds", "mib"))
    slope = np.polyfit(units, seconds, 1)[0]
    memory = np.polyfit(stored if unit == "patches seen" else units, mib, 1)[0]
    extrapolated = "streamed" if unit == "patches seen" else f"{MANY * memory / 1024:+.0f} GiB"
    return {
        "stage": stage,
        "grows with": unit,
        "sizes": " / ".join(f"{n:,.0f}" for n in units),
        "s": " / ".join(f"{s:.2f}" for s in seconds),
        "peak MiB": " / ".join(f"{m:.0f}" for m in mib),
        "slope": f"{many * slope:.3g} s and {many * memory:+.2g} MiB {'per million' if many > 1 else 'each'}",
        "10^8": f"{MANY * slope / 3600:.1f} h, {extrapolated}" if many > 1 else None,
    }


if __name__ == "__main__":
    main()
