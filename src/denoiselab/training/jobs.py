"""Training jobs: everything that determines the result of a training run, resolved from params.yaml and the data."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from denoiselab import architectures
from denoiselab.config import Entry, Params, Train
from denoiselab.config.noise import NoiseSpec
from denoiselab.data import noisy_sets, patches
from denoiselab.models import device_choice, model_store
from denoiselab.runtime import devices, distributed, files, paths
from denoiselab.runtime.errors import UserError

# Code that determines the result of a training run, besides the architecture: changing it invalidates checkpoints.
SOURCES = (
    "architectures/__init__.py",
    "architectures/_layers.py",
    "architectures/_unet.py",
    "data/noise_sampling.py",
    "data/noisy_sets.py",
    "data/patches.py",
    "imaging/albumentations_adapter.py",
    "imaging/depths.py",
    "imaging/tensors.py",
    "metrics/batched.py",
    "metrics/image_quality.py",
    "metrics/no_reference.py",
    "models/model_store.py",
    "models/pretrained.py",
    "models/tiled_inference.py",
    "models/vgg.py",
    "noise/camera_jpeg.py",
    "noise/cameras.py",
    "noise/jpeg.py",
    "noise/level_estimation.py",
    "noise/levels.py",
    "noise/sensor.py",
    "noise/synthesis.py",
    "runtime/devices.py",
    "runtime/distributed.py",
    "runtime/seeding.py",
    "training/batches.py",
    "training/calibration.py",
    "training/jobs.py",
    "training/learner.py",
    "training/loop.py",
    "training/losses.py",
    "training/optimizer.py",
    "training/runner.py",
    "training/supervision.py",
    "training/validation.py",
)
LIBRARIES = ("torch", "numpy", "opencv-python-headless", "albumentations")


@dataclass(frozen=True)
class Job:
    """A training run with all its settings resolved."""

    name: str
    number: int  # 0 for the first seed
    entry: Entry
    settings: Train
    params: Params
    device: torch.device
    needed: dict[str, Any] | None  # model.json of the model that it builds on
    classes: list[str]  # sorted; empty if the data have none
    data_sha256: str  # patches, noisy validation patches, and the model that it builds on
    code: dict[str, str]  # sha256 of SOURCES and the architecture

    @property
    def seed(self) -> int:
        """Seed of this run; the noise of validation and test is the same for all seeds."""
        return self.params.seed + self.number

    @property
    def folder(self) -> Path:
        """Folder of its weights."""
        return paths.trained(self.name, self.number)

    @property
    def needed_folder(self) -> Path:
        """Folder of the model that it builds on, if any; if that has several seeds, the one with the same number."""
        return _needed(self.entry, self.number)

    @property
    def trains(self) -> bool:
        return is_trained(self.params, self.name)

    @property
    def noise(self) -> NoiseSpec:
        return self.params.training_noise(self.name)

    @property
    def task(self) -> str:
        """restore or classify."""
        return getattr(self._outline, "task", "restore")

    @cached_property
    def _outline(self) -> torch.nn.Module:
        return architectures.outline(self.entry.architecture())

    def card(self) -> dict[str, Any]:
        """The settings part of model.json."""
        origin = {"weights": self.entry.weights, "sha256": self.entry.sha256} if self.entry.weights else None
        return {
            "name": self.name,
            "architecture": self.entry.architecture(),
            "task": self.task,
            "init": self.entry.init,
            "imported": origin,
            "init_from": self.entry.init_from,
            "adopted": self.needed["architecture"] if self.needed and getattr(self._outline, "adopts", False) else None,
            "classes": self.classes,
            "train": self.settings.model_dump(mode="json", exclude={"launcher"}),
            "noise": self.params.noise.model_dump(mode="json") | {"train": self.noise.model_dump(mode="json")},
            "augment": self.params.augment.model_dump(mode="json"),
            "patches": self.params.patches.model_dump(mode="json"),
            "seed": self.seed,
            "data_sha256": self.data_sha256,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the result: settings, data, code, and what affects rounding."""
        rounding = {"device": self.device.type, "threads": torch.get_num_threads()}
        rounding |= {"processes": distributed.world_size()}
        return self.card() | {"code": self.code, "versions": {name: version(name) for name in LIBRARIES}} | rounding

    @property
    def fingerprint(self) -> str:
        """Hash of the identity; names the checkpoint."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:24]


def is_trained(params: Params, name: str) -> bool:
    """Whether an entry is trained: it has weights, and they are not imported. Checks its block."""
    return device_choice.has_weights(params, name) and not params.entry(name).weights


def resolve_all(params: Params, name: str) -> list[Job]:
    """The jobs of an entry: one per seed, or a single one if nothing is trained."""
    architectures.check_all(params.architectures(), params.data.channels)
    numbers = range(params.seeds if is_trained(params, name) else 1)
    data = _Data.read()
    return [_resolve(params, name, number, data) for number in numbers]


def resolve(params: Params, name: str, number: int = 0) -> Job:
    """Resolve and check one job. Checks the blocks of all models, so that mistakes are found before any training."""
    architectures.check_all(params.architectures(), params.data.channels)
    return _resolve(params, name, number, _Data.read())


@dataclass(frozen=True)
class _Data:
    """Digests and classes of the training data, read once for all seeds."""

    digests: list[str]  # sha256 of the patches, and of the noisy validation patches of each condition
    classes: list[str]  # sorted; empty if some training patches have none

    @staticmethod
    def read() -> "_Data":
        digests = [patches.verify(paths.PATCHES), *noisy_sets.verify(paths.NOISY)]
        labels = {*patches.labels(paths.PATCHES, "train")}
        return _Data(digests, [] if "" in labels else sorted(labels))


def _resolve(params: Params, name: str, number: int, data: _Data) -> Job:
    settings, entry = _settings(params, name), params.entry(name)
    device = device_choice.device(params, name)
    settings = settings.model_copy(update={"precision": devices.precision(settings.precision, device)})
    folder = _needed(entry, number)
    needed = model_store.read_card(folder) if entry.needs.startswith("models/") else None
    digests = [*data.digests, *([model_store.digest(folder)] if needed else [])]
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    archs = {entry.arch} | ({needed["architecture"]["arch"]} if needed else set())
    resolved = Job(name, number, entry, settings, params, device, needed, data.classes, digest, _code(archs))
    _check_classes(resolved)
    return resolved


def _settings(params: Params, name: str) -> Train:
    """The entry's training settings. Classifiers are supervised by labels, so `target` is reset for them."""
    settings = params.training(name)
    outline = architectures.outline(params.entry(name).architecture())
    classifies = getattr(outline, "task", "restore") == "classify"
    return settings.model_copy(update={"target": "clean"}) if classifies else settings


def _needed(entry: Entry, number: int) -> Path:
    folder = paths.trained(Path(entry.needs).name, number)
    return folder if folder.exists() else Path(entry.needs)


def _check_classes(job: Job) -> None:
    """UserError if the model and the data have different numbers of classes."""
    wanted = job.entry.architecture().get("classes")
    if wanted is not None and wanted != len(job.classes):
        there = f"{len(job.classes)} classes" if job.classes else "no classes"
        raise UserError(f"models.{job.name}.classes: {wanted}, but the training patches of the data have {there}")


def _code(archs: set[str]) -> dict[str, str]:
    """sha256 of SOURCES and of the architectures, by file."""
    package = Path(__file__).parents[1]
    names = sorted([*SOURCES, *(f"architectures/{arch}.py" for arch in archs)])
    return {name: files.sha256(package / name) for name in names}
