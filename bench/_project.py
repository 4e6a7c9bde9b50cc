"""Measured subprocesses, copies of the project, composed parameters, and test photos. Does not import torch."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from denoiselab import config
from denoiselab.imaging import dataset_images

ROOT = Path(__file__).parent.parent
FILES = ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", "conf", "pipeline", "src")
PHOTOGRAPHS = ("astronaut", "coffee", "motorcycle_left")  # shipped with scikit-image
# A small process launches the measured command: on Linux, a child's peak memory includes that of the process it was
# forked from.
LAUNCHER = """\
import json, resource, subprocess, sys, time
started = time.perf_counter()
rc = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump({"seconds": seconds, "cpu_s": used.ru_utime + used.ru_stime, "maxrss": used.ru_maxrss}, file)
sys.exit(rc)
"""
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info")


def environment(**settings: str) -> dict[str, str]:
    """Environment of a process that runs this project's code from any folder, whatever version is installed."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_TRACKING"))}
    found = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    path = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])
    return own | {"PYTHONPATH": found, "PATH": path, "CI": "1"} | settings  # CI: no progress bars


@dataclass(frozen=True)
class Process:
    """Resource usage and output of a finished process and its children."""

    seconds: float
    cpu_s: float  # processor time, summed over cores; hardly affected by other load
    peak_mib: float  # peak memory of the largest process
    output: str  # stdout and stderr


def run(*command: str, rc: int = 0, **settings: str) -> Process:
    """Run a command in `environment(**settings)`. RuntimeError, with its output, if the exit code is not `rc`."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "measured.json"
        launched = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(found), *command]
        environ, output = environment(**settings), subprocess.PIPE
        done = subprocess.run(launched, env=environ, stdout=output, stderr=subprocess.STDOUT, text=True)
        if done.returncode != rc:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
        measured = json.loads(found.read_text(encoding="utf-8"))
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return Process(measured["seconds"], measured["cpu_s"], measured["maxrss"] * unit / 2**20, done.stdout)


def python(*args: str, rc: int = 0, **settings: str) -> Process:
    """`run` with the current Python interpreter."""
    return run(sys.executable, *args, rc=rc, **settings)


def call(module: str, function: str, *arguments: Any, cwd: Path | None = None, **settings: str) -> dict[str, Any]:
    """Call a function in a new process in `environment(**settings)`; returns the JSON of its last line of output."""
    code = f"from {module} import {function}; {function}{arguments!r}"
    env, pipe = environment(**settings), subprocess.PIPE
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, stdout=pipe, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def scratch() -> Iterator[Path]:
    """Change to a temporary folder for the duration of the block."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def copy(folder: Path) -> None:
    """Copy this project's code and settings to `folder` and run `git init` there; nothing is committed."""
    for name in FILES:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=IGNORED)
        else:
            shutil.copyfile(source, target)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def compose(*overrides: str) -> dict[str, Any]:
    """The parameters that `dvc exp run -S OVERRIDE...` would use, as plain values."""
    from dvc.utils.hydra import compose_and_dump

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        conf = str(ROOT / "conf")
        compose_and_dump(str(path), conf, None, "config", conf, list(overrides))
        return config.load(path).model_dump(mode="json", exclude_unset=True)


def photographs(number: int, shape: tuple[int, int]) -> list[np.ndarray]:
    """Crops (H, W, 3) uint8 of scikit-image's photos, of `shape` or smaller, every second one mirrored."""
    spec = find_spec("skimage")
    assert spec and spec.submodule_search_locations
    folder, rng = Path(spec.submodule_search_locations[0]) / "data", np.random.default_rng(0)
    photos = [dataset_images.read(folder / f"{name}.png", 3) for name in PHOTOGRAPHS]
    crops = []
    for n in range(number):
        image = photos[n % len(photos)]
        y, x = (int(rng.integers(0, max(1, image.shape[d] - shape[d] + 1))) for d in (0, 1))
        crops.append(np.ascontiguousarray(image[y : y + shape[0], x : x + shape[1]][:, :: (-1) ** n]))
    return crops
