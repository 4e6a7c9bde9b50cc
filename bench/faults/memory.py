"""Simulated lack of device memory: convolutions of too many pixels raise CUDA's out-of-memory error.

Training must end with one line that names the settings to lower, evaluation with one that names the tile size. If
smaller tiles fit, the output must equal that with enough memory, up to rounding.
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
STAGES = {"train": (1000, "batch"), "evaluate": (10, "--tile")}  # pixels that fit, and the setting to be named
FITS, SIDE = 10_000, 420  # pixels that fit, and the side of an image that needs tiles


def trials(settings: Settings) -> Iterator[Trial]:
    for stage, (pixels, named) in STAGES.items():
        yield Trial(stage, partial(_stopped, settings, stage, pixels, named))
    yield Trial("denoise", partial(_tiled, settings))


def _stopped(settings: Settings, stage: str, pixels: int, named: str) -> Row:
    """Run a stage that cannot fit in memory, in a copy of the toy project."""
    folder = settings.folder / f"short-of-memory-{stage}"
    shutil.copytree(_toy.finished(settings.folder / "toy").folder, folder, symlinks=True)
    shutil.rmtree(folder / ".ckpt", ignore_errors=True)
    rc, output = _run(folder, pixels, f"pipeline.{stage}", "unet")
    error = _toy.error_line(output)
    good = bool(rc) and "out of memory" in error and named in output and "Traceback" not in output
    lost, left = _toy.lost_runs(_toy.store(folder), ""), _toy.leftovers(folder)
    shutil.rmtree(folder)
    return Row("out of memory", stage, 1, int(good), 0, len(lost), len(left), error if good else output[-300:])


def _tiled(settings: Settings) -> Row:
    """Denoise an image that fits only in smaller tiles."""
    project, folder = _toy.finished(settings.folder / "toy").folder, settings.folder / "denoise"
    folder.mkdir()
    dataset_images.write_png(folder / "in.png", next(iter(photographs(1, (SIDE, SIDE)))))
    _denoised(project, folder, 0)
    output = _denoised(project, folder, FITS)
    differ = np.abs(np.subtract(*(dataset_images.read(folder / f"{n}.png", 3).astype(int) for n in (0, FITS)))).max()
    warning = next((line for line in output.splitlines() if "tiles of" in line), "")
    message = warning or f"tiles were not tried: {output[-200:]}"
    return Row("out of memory", "denoise", 1, int(bool(warning) and differ <= 1), int(differ > 1), message=message)


def _denoised(project: Path, folder: Path, pixels: int) -> str:
    """Run `denoiselab denoise` and return its output; the restored image is <pixels>.png. `pixels` 0: no limit."""
    command = (
        "denoiselab.app.cli",
        "denoise",
        "--model",
        "models/unet",
        str(folder / "in.png"),
        str(folder / f"{pixels}.png"),
    )
    rc, output = _run(project, pixels, *command)
    if rc:
        raise RuntimeError(output)
    return output


def _run(project: Path, pixels: int, *command: str) -> tuple[int, str]:
    process = _toy.start(project, sys.executable, "-c", HUNGRY, str(pixels), *command)
    output, _ = process.communicate(timeout=_toy.TIMEOUT_S)
    return process.returncode, output
