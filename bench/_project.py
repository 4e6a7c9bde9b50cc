"""Processes to measure, folders with this project's files, and real photographs. Imports no torch."""

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
PHOTOGRAPHS = ("astronaut", "coffee", "motorcycle_left")  # inside scikit-image
# A process of its own starts what is measured: Linux counts the memory of whoever starts a process as that process's.
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
    """For a process that runs this project's code, whatever folder it is in and whatever is installed."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_TRACKING"))}
    found = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    path = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])
    return own | {"PYTHONPATH": found, "PATH": path, "CI": "1"} | settings  # CI: no progress bars


@dataclass(frozen=True)
class Process:
    """A process that has ended, and those that it waited for."""

    seconds: float
    cpu_s: float  # of the processor, on all cores together: about the same on a busy machine
    peak_mib: float  # of the largest of them
    output: str  # stdout and stderr


def run(*command: str, rc: int = 0, **settings: str) -> Process:
    """Run a command in `environment(**settings)` to its end; RuntimeError shows its output where that is not `rc`."""
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
    """`run` with this interpreter."""
    return run(sys.executable, *args, rc=rc, **settings)


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, which is the working directory meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def copy(folder: Path) -> None:
    """This project's code and settings in a Git repository of its own, without a commit."""
    for name in FILES:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=IGNORED)
        else:
            shutil.copyfile(source, target)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def compose(*overrides: str) -> dict[str, Any]:
    """The parameters that `dvc exp run -S OVERRIDE...` would run with, as plain values."""
    from dvc.utils.hydra import compose_and_dump

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        compose_and_dump(str(path), str(ROOT / "conf"), None, "config", None, list(overrides))
        return config.load(path).model_dump(mode="json", exclude_unset=True)


def photographs(number: int, shape: tuple[int, int]) -> list[np.ndarray]:
    """Crops (H, W, 3) uint8 of scikit-image's photographs, at most of that shape, every other one mirrored."""
    spec = find_spec("skimage")
    assert spec and spec.submodule_search_locations
    folder, rng = Path(spec.submodule_search_locations[0]) / "data", np.random.default_rng(0)
    whole = [dataset_images.read(folder / f"{name}.png", 3) for name in PHOTOGRAPHS]
    found = []
    for n in range(number):
        image = whole[n % len(whole)]
        y, x = (int(rng.integers(0, max(1, image.shape[d] - shape[d] + 1))) for d in (0, 1))
        found.append(np.ascontiguousarray(image[y : y + shape[0], x : x + shape[1]][:, :: (-1) ** n]))
    return found
