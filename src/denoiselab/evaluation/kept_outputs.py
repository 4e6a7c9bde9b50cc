"""Outputs of slow models, kept on disk until their evaluation is finished: a killed one goes on where it was."""

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from denoiselab.models import model_store
from denoiselab.runtime import distributed, files, paths

SLOW_S = 1.0  # seconds for an image; outputs of faster models are computed again
ROOM = 2 << 30  # bytes that remain free on the disk
LIBRARIES = (  # that models compute with
    *("numpy", "opencv-python-headless", "PyWavelets", "scikit-image", "scipy"),
    *("spandrel", "spandrel_extra_arches", "torch"),
)


@dataclass(frozen=True)
class KeptOutputs:
    """Outputs of one model, by input; can be sent to another process, which keeps none if it has no such folder."""

    folder: Path

    @classmethod
    def of(cls, name: str, number: int, **settings: Any) -> "KeptOutputs":
        """Those of training run `number` of models/<name> under these settings, by this code and these libraries."""
        # On the first machine only: others need no copy of the weights, and have no folder.
        return cls(distributed.from_first(lambda: _folder(paths.trainings(name)[number], settings)))

    def output(
        self, noisy: np.ndarray, level: float, label: int | None, compute: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """`compute()` (H, W, C) float32, or what it gave before for the same input."""
        said = hashlib.sha256(repr((noisy.shape, noisy.dtype.str, level, label)).encode())
        said.update(np.ascontiguousarray(noisy).data)
        path = self.folder / f"{said.hexdigest()}.npz"
        if path.exists():
            damaged = suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # its CRC is wrong
            with damaged, np.load(path, allow_pickle=False) as kept:
                return np.asarray(kept["output"])
        started = time.perf_counter()
        output = compute()
        if time.perf_counter() - started >= SLOW_S and self.folder.is_dir():
            with suppress(OSError):
                self._keep(path, output)
        return output

    def _keep(self, path: Path, output: np.ndarray) -> None:
        if shutil.disk_usage(self.folder).free - output.nbytes > ROOM:
            with files.atomic_write(path) as temporary, temporary.open("wb") as handle:
                np.savez(handle, output=output)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _folder(weights: Path, settings: dict[str, Any]) -> Path:
    identity = {
        "weights": model_store.digest(weights),
        "code": [files.sha256(path) for path in sorted(Path(__file__).parents[1].rglob("*.py"))],
        "libraries": {name: _version(name) for name in LIBRARIES},
        **settings,
    }
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    folder = paths.checkpoints() / f"{paths.EVALUATION}{fingerprint}"
    files.make_folder(folder)
    return folder


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
