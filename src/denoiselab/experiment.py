"""Train or calibrate one entry of params.models and write its weights, history and cost."""

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from denoiselab import batches, devices, files, foreign, model_store, models, patches, paths, seeding, training
from denoiselab.calibration import calibrate
from denoiselab.checkpoint import Checkpoint
from denoiselab.config import Entry, Params, Train
from denoiselab.validation import Validation

UNHASHED = ("denoiselab.tracking",)  # cannot change a weight
LATER = ("albumentation",)  # modules that are only imported when they are needed
LIBRARIES = ("torch", "numpy", "opencv-python-headless", "albumentations")


@dataclass(frozen=True)
class Plan:
    """One training, resolved: everything that decides its result."""

    name: str
    entry: Entry
    settings: Train
    params: Params
    device: torch.device
    data_sha256: str  # of the patches and the noisy validation patches
    code_sha256: str  # of the modules that train it

    def card(self) -> dict[str, Any]:
        """What model.json says of how the model was made."""
        origin = {"weights": self.entry.weights, "sha256": self.entry.sha256} if self.entry.weights else None
        return {
            "name": self.name,
            "architecture": self.entry.architecture(),
            "imported": origin,
            "train": self.settings.model_dump(mode="json"),
            "noise": self.params.noise.model_dump(mode="json"),
            "augment": self.params.augment.model_dump(mode="json"),
            "patches": self.params.patches.model_dump(mode="json"),
            "seed": self.params.seed,
            "data_sha256": self.data_sha256,
        }

    @property
    def fingerprint(self) -> str:
        """Names the training: its card, the code that runs it, and what else rounding depends on."""
        machine = [*map(version, LIBRARIES), self.device.type, torch.get_num_threads()]
        return hashlib.sha256(
            json.dumps([self.card(), self.code_sha256, machine], sort_keys=True).encode()
        ).hexdigest()[:24]


def plan(params: Params, name: str) -> Plan:
    """Resolve and check. Every model's block is checked, so that a mistake in a later one costs no training."""
    for other, entry in params.models.items():
        models.check(entry.architecture(), where=f"models.{other}")
        channels = entry.architecture().get("channels")
        if channels != params.data.channels:
            raise ValueError(f"models.{other}.channels: {channels}, but data.channels is {params.data.channels}")
    settings = params.training(name)
    device = devices.choose(settings.device)
    data = files.sha256(paths.PATCHES) + "".join(files.sha256(p) for p in sorted(paths.NOISY.glob("*/val.npy")))
    digest = hashlib.sha256(data.encode()).hexdigest()
    entry = params.entry(name)
    return Plan(name, entry, settings, params, device, digest, _code(entry.arch))


def _code(arch: str) -> str:
    """sha256 of the project's modules that are loaded or may be later, other architectures and tracking aside."""
    own, others = f"denoiselab.models.{arch}", "denoiselab.models."
    loaded = {name: module.__file__ for name, module in list(sys.modules.items()) if name.startswith("denoiselab")}
    loaded |= {f"denoiselab.{name}": str(Path(__file__).with_name(f"{name}.py")) for name in LATER}
    used = {n: f for n, f in loaded.items() if f and n not in UNHASHED and (n == own or not n.startswith(others))}
    return hashlib.sha256(json.dumps({n: files.sha256(Path(used[n])) for n in sorted(used)}).encode()).hexdigest()


def run(plan: Plan, log: training.Log) -> None:
    """Train or calibrate as planned and write models/<name>/, its history and its cost."""
    print(f"{plan.name}: on {devices.describe(plan.device)}", file=sys.stderr)
    devices.prepare(plan.device)
    torch.manual_seed(seeding.key(plan.params.seed, "init"))
    model = models.build(plan.entry.architecture(), where=f"models.{plan.name}")
    validate = Validation(paths.NOISY, paths.PATCHES, plan.settings.val_patches, plan.device)
    if model_store.parameters(model) and not plan.entry.weights:
        result = _train(plan, model, validate, log)
    else:
        if plan.entry.weights:
            _import(plan, model)
        result = _calibrate(plan, model, validate)
        for row in result.history:
            log(int(row["step"]), row)
    _write(plan, model, result)


def _train(plan: Plan, model: nn.Module, validate: Validation, log: training.Log) -> training.Run:
    settings = plan.settings
    pairs = patches.load(paths.PATCHES, "train"), patches.load_noisy(paths.PATCHES, "train")
    params = plan.params
    source = batches.build(*pairs, settings.batch, settings.crop, params.augment, params.seed, plan.device)
    checkpoint = Checkpoint(paths.checkpoints(), plan.fingerprint)
    with checkpoint.held():
        return training.fit(
            model,
            source,
            validate,
            settings,
            params.noise.train,
            device=plan.device,
            checkpoint=checkpoint,
            log=log,
        )


def _import(plan: Plan, model: nn.Module) -> None:
    """Foreign weights into the model, by DENOISELAB_MIRROR, path or address, and only if their sha256 is the stated."""
    from denoiselab.data.download import obtain

    entry = plan.entry
    assert entry.weights
    file = obtain(plan.name, entry.weights, sha256=entry.sha256, folder=paths.downloads(), root=paths.shared_root())
    foreign.load(model, entry.arch, file)
    model.to(plan.device)


def _calibrate(plan: Plan, model: nn.Module, validate: Validation) -> training.Run:
    """A model that is not trained: its strength is calibrated, if it has one, and it is validated."""
    started = time.perf_counter()
    history = calibrate(model, validate) if getattr(model, "calibrated", False) else []
    scores = validate(model)
    history.append({"step": len(history), **{f"val_{name}": value for name, value in scores.items()}})
    best = {
        name: {"value": value, "step": len(history) - 1, "weights": model.state_dict()}
        for name, value in scores.items()
    }
    return training.Run(len(history), time.perf_counter() - started, history, best)


def _write(plan: Plan, model: nn.Module, result: training.Run) -> None:
    best = {name: {"step": kept["step"], f"val_{name}": kept["value"]} for name, kept in result.best.items()}
    card = plan.card() | {
        "parameters": model_store.parameters(model),
        "steps": 0 if plan.entry.weights else result.step,
    }
    card |= {"best": best}
    weights = {f"best_{name}": kept["weights"] for name, kept in result.best.items()}
    model_store.save(paths.model(plan.name), weights, card)
    columns = list(dict.fromkeys(key for row in result.history for key in row))
    files.write_csv(paths.history(plan.name), columns, result.history)
    trained = model_store.parameters(model) > 0 and not plan.entry.weights
    rate = result.step * plan.settings.batch / max(result.seconds, 1e-9) if trained else None
    cost = {"seconds": result.seconds, "images_per_second": rate, "device": devices.describe(plan.device)}
    files.write_json(paths.training_cost(plan.name), cost)
