"""Is all there that denoising and experiments need? A finding for each part, none of which stops the others."""

import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import yaml

from denoiselab.app import denoisers
from denoiselab.config import yaml_files
from denoiselab.runtime import files, paths, seeding
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

PATIENCE_S = 15.0  # for something at the other end of a network
LITTLE_GIB = 2.0  # of free memory
EXTRAS = {  # packages that only some commands need
    "tifffile": "TIFF files",
    "onnx": "denoiselab export",
    "onnxscript": "denoiselab export",
    "onnxruntime": "denoiselab export",
    "streamlit": "denoiselab serve",
}
MIRROR = "DENOISELAB_MIRROR"

State = Literal["ok", "note", "problem"]
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """`note`: works, but something is missing that not everybody needs."""

    subject: str
    state: State
    said: str


def findings(root: Path = Path()) -> Iterator[Finding]:
    """About the machine, the packages, the released weights and the project in `root`."""
    checks: dict[str, Callable[[Path], tuple[State, str]]] = {
        "machine": _machine,
        "torch": _torch,
        "packages": _packages,
        "memory": _memory,
        "weights": _weights,
        "denoising": _denoising,
        "project": _project,
        "DVC": _dvc,
        "MLflow": _mlflow,
        "mirror": _mirror,
    }
    for subject, check in checks.items():
        try:
            yield Finding(subject, *check(root))
        except Exception as error:  # noqa: BLE001 - one finding more, whatever it is
            yield Finding(subject, "problem", one_line(error, 300))


def _machine(root: Path) -> tuple[State, str]:
    return "ok", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {_cores()} cores"


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _torch(root: Path) -> tuple[State, str]:
    """Computes a convolution on the device that would be used."""
    import torch

    from denoiselab.runtime import devices

    device = devices.choose("auto")
    devices.prepare(device)
    x = torch.rand((1, 3, 32, 32), generator=seeding.generator("health"))
    kernel = torch.rand((3, 3, 3, 3), generator=seeding.generator("kernel"))
    expected = torch.nn.functional.conv2d(x.double(), kernel.double())
    found = torch.nn.functional.conv2d(x.to(device), kernel.to(device)).cpu().double()
    said = f"{torch.__version__}, on {devices.describe(device)}"
    if not torch.allclose(found, expected, rtol=1e-4):
        return "problem", f"{said}: a convolution there is wrong by {(found - expected).abs().max():.1e}"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        return "note", f"{said}; there is nvidia-smi, but this torch sees no GPU: its build may be that for CPUs"
    if device.type == "cpu" and torch.get_num_threads() > _cores():
        return "note", f"{said}, more than the {_cores()} cores: set OMP_NUM_THREADS={_cores()}"
    return "ok", said


def _packages(root: Path) -> tuple[State, str]:
    missing = {name: use for name, use in EXTRAS.items() if not _installed(name)}
    if missing:
        uses = ", ".join(f"{name} (for {use})" for name, use in missing.items())
        return "note", f"not installed: {uses}"
    return "ok", ", ".join(f"{name} {_installed(name)}" for name in EXTRAS)


def _installed(name: str) -> str:
    """The version, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _memory(root: Path) -> tuple[State, str]:
    import torch

    from denoiselab.runtime import devices

    free = devices.free_bytes(torch.device("cpu")) / 2**30
    little = "; that is little: large pictures are cut into small tiles" if free < LITTLE_GIB else ""
    return "note" if little else "ok", f"{free:.1f} GiB are free{little}"


def _weights(root: Path) -> tuple[State, str]:
    """The files of the released weights are those that conf/ names."""
    base = denoisers.PROJECT
    if not (base / paths.released_block("")).parent.is_dir():
        return "note", "no released weights: they are part of a clone of the project"
    intact, wrong = [], []
    for path in sorted((base / paths.released_block("x").parent).glob("*.yaml")):
        block = yaml_files.read(path)
        weights = base / block["weights"]
        if not weights.is_file():
            wrong.append(f"{block['weights']} is missing")
        elif files.sha256(weights) != block["sha256"]:
            wrong.append(f"{block['weights']} is not the file that was released")
        else:
            intact.append(path.stem)
    if wrong:
        return "problem", f"{'; '.join(wrong)}; run `git restore models/released` in {base}"
    return "ok", f"{', '.join(intact)}: intact"


def _denoising(root: Path) -> tuple[State, str]:
    """Noise of sigma 25 on a shaded picture comes down."""
    released = [entry for entry in denoisers.known() if entry.origin == "released" and entry.levels]
    if not released:
        return "note", "not tried: no released weights"
    denoiser = denoisers.load(released[0].name)
    ramp = np.linspace(0.2, 0.8, 64, dtype=np.float32)
    clean = np.broadcast_to(ramp[:, None, None], (64, 64, denoiser.channels))
    error = 25 / 255 * np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
    left = float(np.std(denoiser.restore(clean + error) - clean)) * 255
    said = f"{denoiser.entry.name} takes noise of 25 down to {left:.1f} (standard deviations, of 255)"
    return "ok" if left < 25 / 2 else "problem", said


def _project(root: Path) -> tuple[State, str]:
    """As pipeline.doctor says, which needs no packages."""
    if not (root / "dvc.yaml").is_file():
        return "note", "this folder is no project: pictures can be denoised, experiments need a clone"
    command = [sys.executable, "-m", "pipeline.doctor"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    said = "; ".join(line.removeprefix("doctor: ") for line in (done.stdout + done.stderr).splitlines())
    return "problem" if done.returncode else "ok", said


def _dvc(root: Path) -> tuple[State, str]:
    """The cache can be written, the remotes answer."""
    if not (root / ".dvc").is_dir():
        return "note", "not asked: no project here"
    from dvc.repo import Repo

    for path in (root / ".dvc/tmp/rwlock", root / "dvc.lock"):  # which DVC does not write whole or not at all
        if not whole(path):
            return "problem", f"{path} is cut short, since DVC was killed: see docs/troubleshooting.md, Stored files"
    with Repo(str(root)) as repo:
        cache = Path(repo.cache.local.path)
        home = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
        if not os.access(home, os.W_OK):
            return "problem", f"the cache {home} cannot be written"
        remotes = list(repo.config["remote"])
        if not remotes:
            return "ok", "the cache can be written; no remote: data and models stay on this machine"
        for name in remotes:
            remote = repo.cloud.get_remote(name)
            _patiently(partial(remote.fs.exists, remote.path), f"the remote {name}")
        return "ok", f"the cache can be written; remotes that answer: {', '.join(remotes)}"


def whole(path: Path) -> bool:
    """Whether it is a mapping of YAML, or not there."""
    try:
        return not path.exists() or isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
    except yaml.YAMLError:
        return False


def _mlflow(root: Path) -> tuple[State, str]:
    from denoiselab.tracking import ping

    return "ok", _patiently(ping.answer, "the MLflow store")


def _mirror(root: Path) -> tuple[State, str]:
    folder = os.environ.get(MIRROR)
    if not folder:
        return "ok", f"{MIRROR} is not set: data sets are downloaded"
    if not Path(folder).is_dir():
        return "problem", f"{MIRROR} is {folder}, which is no folder"
    return "ok", f"{MIRROR} is {folder}"


def _patiently(ask: Callable[[], T], whom: str) -> T:
    """What `ask` answers. ValueError where it takes too long, or its own error."""
    answers: list[T] = []
    errors: list[Exception] = []

    def asking() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # noqa: BLE001 - raised again
            errors.append(error)

    thread = threading.Thread(target=asking, daemon=True)  # which does not hold up the end of the process
    thread.start()
    thread.join(PATIENCE_S)
    if errors:
        raise UserError(f"{whom} does not answer: {one_line(errors[0], 300)}")
    if not answers:
        raise UserError(f"{whom} does not answer within {PATIENCE_S:g} s")
    return answers[0]
