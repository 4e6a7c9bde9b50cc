"""A device without enough memory, simulated: convolutions of more than so many pixels raise what CUDA raises.

Training must end with one line that names the numbers to lower, evaluation with one that names the tile; where smaller
tiles do fit, a picture must come out as it does with memory enough, but for rounding.
"""

import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bench._project import photographs
from bench.faults import _toy
from bench.faults._trial import Row, Settings, Trial
from denoiselab.imaging import dataset_images

HUNGRY = """\
import runpy, sys
import torch
limit, module = int(sys.argv.pop(1)), sys.argv.pop(1)
convolution = torch.nn.functional.conv2d
def hungry(x, *args, **options):
    if limit and x.shape[0] * x.shape[-2] * x.shape[-1] > limit:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more")
    return convolution(x, *args, **options)
torch.nn.functional.conv2d = hungry
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
STAGES = {"train": (1000, "batch"), "evaluate": (10, "--tile")}  # pixels that fit, and what is named then
FITS, SIDE = 10_000, 420  # pixels that fit, and the side of a picture of which the net sees more at once


def trials(settings: Settings) -> Iterator[Trial]:
    for stage, (pixels, named) in STAGES.items():
        yield Trial(stage, partial(_stopped, settings, stage, pixels, named))
    yield Trial("denoise", partial(_tiled, settings))


def _stopped(settings: Settings, stage: str, pixels: int, named: str) -> Row:
    """What a stage says for which nothing is small enough, in a copy of the toy project."""
    folder = settings.folder / f"short-of-memory-{stage}"
    shutil.copytree(_toy.finished(settings.folder / "toy").folder, folder, symlinks=True)
    shutil.rmtree(folder / ".ckpt", ignore_errors=True)
    rc, said = _run(folder, pixels, f"pipeline.{stage}", "unet")
    line = _toy.said(said)
    well = bool(rc) and "out of memory" in line and named in said and "Traceback" not in said
    lost, left = _toy.lost_runs(_toy.store(folder), ""), _toy.leftovers(folder)
    shutil.rmtree(folder)
    return Row("out of memory", stage, 1, int(well), 0, len(lost), len(left), line if well else said[-300:])


def _tiled(settings: Settings) -> Row:
    """What a command makes of a picture that fits in smaller tiles alone."""
    project, folder = _toy.finished(settings.folder / "toy").folder, settings.folder / "denoise"
    folder.mkdir()
    dataset_images.write_png(folder / "in.png", next(iter(photographs(1, (SIDE, SIDE)))))
    said = [_denoised(project, folder, pixels) for pixels in (0, FITS)]
    differ = np.abs(np.subtract(*(dataset_images.read(folder / f"{n}.png", 3).astype(int) for n in (0, FITS)))).max()
    warned = next((line for line in said[1].splitlines() if "tiles of" in line), "")
    message = warned or f"tiles were not tried: {said[1][-200:]}"
    return Row("out of memory", "denoise", 1, int(bool(warned) and differ <= 1), int(differ > 1), message=message)


def _denoised(project: Path, folder: Path, pixels: int) -> str:
    """What `denoiselab denoise` says; the picture is named after the pixels that fit."""
    command = (
        "denoiselab.app.cli",
        "denoise",
        "--model",
        "models/unet",
        str(folder / "in.png"),
        str(folder / f"{pixels}.png"),
    )
    rc, said = _run(project, pixels, *command)
    if rc:
        raise RuntimeError(said)
    return said


def _run(project: Path, pixels: int, *command: str) -> tuple[int, str]:
    process = _toy.start(project, sys.executable, "-c", HUNGRY, str(pixels), *command)
    said, _ = process.communicate(timeout=_toy.PATIENCE_S)
    return process.returncode, said
