"""A run's parameters on real photographs, and what its stages before evaluate leave."""

from pathlib import Path
from typing import Any

from bench._project import compose, photographs
from denoiselab import config, draws, experiment, images, patches, paths, planning
from denoiselab.data.fetch import fetch


def of_photographs(test: int, shape: tuple[int, int], *overrides: str) -> dict[str, Any]:
    """Parameters, as plain values, of a run on so many test photographs and as few others as go; it writes these."""
    others = 2  # one to train on, one to validate with
    tree = compose("data=folder", "data.path=photographs", *overrides)
    share = 1 / (test + others)
    split = {"train": share, "val": share, "test": 1 - 2 * share}
    tree["data"] |= {"split": split, "allow_leak": True}  # crops of one photograph are alike
    Path("photographs").mkdir()
    for n, pixels in enumerate(photographs(test + others, shape)):
        images.write_png(Path("photographs") / f"{n:04d}.png", pixels)
    return tree


def prepare(params: config.Params) -> None:
    """What the stages before train leave."""
    fetch(params.data, paths.RAW)
    patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES, params.parallel)
    draws.write(paths.RAW, paths.PATCHES, params, paths.NOISY)


def train(params: config.Params, name: str) -> None:
    """What stage train leaves, without tracking."""
    plans = planning.plans(params, name)
    experiment.record(plans, [experiment.run(plan, lambda step, row: None) for plan in plans])
