"""A run's parameters on real photographs, and what its stages before evaluate leave."""

import sys
from pathlib import Path
from typing import Any

from bench._project import compose, photographs
from denoiselab import config
from denoiselab.data import manifest, noise_sampling, patches
from denoiselab.data.fetch import fetch
from denoiselab.imaging import dataset_images
from denoiselab.runtime import paths
from denoiselab.training import jobs, runner


def of_photographs(test: int, shape: tuple[int, int], *overrides: str) -> dict[str, Any]:
    """Parameters, as plain values, of a run on so many test photographs and as few others as go; it writes these."""
    others = 2  # one to train on, one to validate with
    tree = compose("data=folder", "data.path=photographs", *overrides)
    share = 1 / (test + others)
    split = {"train": share, "val": share, "test": 1 - 2 * share}
    tree["data"] |= {"split": split, "allow_leak": True}  # crops of one photograph are alike
    Path("photographs").mkdir()
    for n, pixels in enumerate(photographs(test + others, shape)):
        dataset_images.write_png(Path("photographs") / f"{n:04d}.png", pixels)
    return tree


def fetched(folder: Path) -> str:
    """500 images of 481x321 pixels in colour, as fetch leaves them in `folder`; says which."""
    try:
        fetch(config.Params.model_validate(compose("data=bsds500")).data, folder)
        return "the 500 images of BSDS500"
    except (ValueError, OSError) as error:
        print(f"no BSDS500: {error}", file=sys.stderr)
    rows = []
    for n, pixels in enumerate(photographs(500, (321, 481))):
        dataset_images.write_png(folder / f"{n:03d}.png", pixels)
        known = {"image": str(n), "split": "train", "group": str(n), "path": f"{n:03d}.png"}
        known |= {"height": pixels.shape[0], "width": pixels.shape[1]}
        rows.append(manifest.Row(**dict.fromkeys(manifest.Row.__annotations__, "") | known))
    manifest.write(folder, rows)
    return "500 crops of photographs inside scikit-image"


def prepare(params: config.Params) -> None:
    """What the stages before train leave."""
    fetch(params.data, paths.RAW)
    patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES, params.parallel)
    noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)


def train(params: config.Params, name: str) -> None:
    """What stage train leaves, without tracking."""
    all_jobs = jobs.resolve_all(params, name)
    runner.record(all_jobs, [runner.run(job, lambda step, row: None) for job in all_jobs])
