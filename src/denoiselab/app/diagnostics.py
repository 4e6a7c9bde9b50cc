"""Check the installation and the project. Each check gives a finding; a failing one does not stop the others."""

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

from denoiselab.app import denoisers
from denoiselab.models import metadata
from denoiselab.runtime import dvc_files, seeding
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

PATIENCE_S = 15.0  # timeout for remotes
LITTLE_GIB = 2.0  # free memory below this gets a note
EXTRAS = {  # of the package: one of its packages, and what needs them
    "experiments": ("dvc", "experiments"),
    "page": ("streamlit", "denoiselab serve"),
    "onnx": ("onnxruntime", "denoiselab export"),
    "raw": ("rawpy", "camera raw files"),
    "heic": ("pillow-heif", "HEIC"),
    "spandrel": ("spandrel", "its networks"),
    "scale": ("distributed", "clusters"),
}
MIRROR = "DENOISELAB_MIRROR"

State = Literal["ok", "note", "problem"]
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """Result of a check. `note`: works, but something optional is missing."""

    subject: str
    state: State
    said: str


def findings(root: Path = Path()) -> Iterator[Finding]:
    """Check the machine, the packages, the released weights and the project in `root`."""
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
        except Exception as error:  # noqa: BLE001 - reported as a finding
            yield Finding(subject, "problem", one_line(error, 300))


def _machine(root: Path) -> tuple[State, str]:
    return "ok", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {_cores()} cores"


def _cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _torch(root: Path) -> tuple[State, str]:
    """Compute a convolution on the device that would be used."""
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
        return "problem", f"{said}: a convolution is wrong by {(found - expected).abs().max():.1e}"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        return "note", f"{said}; nvidia-smi is installed, but torch sees no GPU: it may be the CPU build"
    if device.type == "cpu" and torch.get_num_threads() > _cores():
        return "note", f"{said}, more than {_cores()} cores: set OMP_NUM_THREADS={_cores()}"
    return "ok", said


def _packages(root: Path) -> tuple[State, str]:
    missing = {extra: use for extra, (package, use) in EXTRAS.items() if not _installed(package)}
    if missing:
        uses = ", ".join(f"{extra} ({use})" for extra, use in missing.items())
        return "note", f"not installed: {uses}: pip install 'denoiselab[{','.join(missing)}]'"
    return "ok", ", ".join(f"{package} {_installed(package)}" for package, _ in EXTRAS.values())


def _installed(name: str) -> str:
    """The version; empty if not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _memory(root: Path) -> tuple[State, str]:
    import torch

    from denoiselab.runtime import devices

    free = devices.free_bytes(torch.device("cpu")) / 2**30
    little = "; large images will be processed in small tiles" if free < LITTLE_GIB else ""
    return "note" if little else "ok", f"{free:.1f} GiB free{little}"


def _weights(root: Path) -> tuple[State, str]:
    """Compare the released weights with the sha256 in their cards."""
    intact, wrong = [], []
    for name, folder in denoisers.released().items():
        try:
            metadata.weights(folder, metadata.read(folder))
            intact.append(name)
        except UserError as error:
            wrong.append(str(error).partition(";")[0])
    if wrong:
        return "problem", f"{'; '.join(wrong)}; install denoiselab again, in a clone by `git restore models/released`"
    return ("ok", f"{', '.join(intact)}: intact") if intact else ("problem", "no released weights")


def _denoising(root: Path) -> tuple[State, str]:
    """Denoise a gradient with noise of sigma 25."""
    released = [entry for entry in denoisers.known() if entry.origin == "released" and entry.levels]
    if not released:
        return "note", "skipped: no released weights"
    denoiser = denoisers.load(released[0].name)
    ramp = np.linspace(0.2, 0.8, 64, dtype=np.float32)
    clean = np.broadcast_to(ramp[:, None, None], (64, 64, denoiser.channels))
    error = 25 / 255 * np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
    left = float(np.std(denoiser.restore(clean + error) - clean)) * 255
    said = f"{denoiser.entry.name} reduces noise from sigma 25 to {left:.1f} (of 255)"
    return "ok" if left < 25 / 2 else "problem", said


def _project(root: Path) -> tuple[State, str]:
    """Run pipeline.doctor, which needs no packages."""
    if not (root / "dvc.yaml").is_file():
        return "note", "not a project folder: images can be denoised, experiments need a clone"
    command = [sys.executable, "-m", "pipeline.doctor"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    said = "; ".join(line.removeprefix("doctor: ") for line in (done.stdout + done.stderr).splitlines())
    return "problem" if done.returncode else "ok", said


def _dvc(root: Path) -> tuple[State, str]:
    """Check that the cache is writable and the remotes answer."""
    if not (root / ".dvc").is_dir():
        return "note", "skipped: not a project folder"
    from dvc.repo import Repo

    for file in (dvc_files.RWLOCK, dvc_files.LOCK):
        if not dvc_files.is_whole(file, root):
            return "problem", f"{root / file} is incomplete because DVC was killed: denoiselab doctor --repair"
    with Repo(str(root)) as repo:
        cache = Path(repo.cache.local.path)
        home = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
        if not os.access(home, os.W_OK):
            return "problem", f"the cache {home} is not writable"
        remotes = list(repo.config["remote"])
        if not remotes:
            return "ok", "cache writable; no remote, data and models stay on this machine"
        for name in remotes:
            remote = repo.cloud.get_remote(name)
            _patiently(partial(remote.fs.exists, remote.path), f"the remote {name}")
        return "ok", f"cache writable; remotes reachable: {', '.join(remotes)}"


def _mlflow(root: Path) -> tuple[State, str]:
    if not _installed("mlflow"):
        return "note", "skipped: not installed, experiments need it"
    from denoiselab.tracking import ping

    return "ok", _patiently(ping.check, "the MLflow store")


def _mirror(root: Path) -> tuple[State, str]:
    folder = os.environ.get(MIRROR)
    if not folder:
        return "ok", f"{MIRROR} is not set; data sets are downloaded"
    if not Path(folder).is_dir():
        return "problem", f"{MIRROR}: {folder} is not a folder"
    return "ok", f"{MIRROR} is {folder}"


def _patiently(ask: Callable[[], T], whom: str) -> T:
    """Result of `ask`. UserError if it fails or takes longer than PATIENCE_S."""
    answers: list[T] = []
    errors: list[Exception] = []

    def asking() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=asking, daemon=True)  # does not delay the end of the process
    thread.start()
    thread.join(PATIENCE_S)
    if errors:
        raise UserError(f"{whom} does not answer: {one_line(errors[0], 300)}")
    if not answers:
        raise UserError(f"{whom} does not answer within {PATIENCE_S:g} s")
    return answers[0]
