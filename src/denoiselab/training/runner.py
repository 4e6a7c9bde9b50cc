"""Train or calibrate one entry of params.models and write its weights, history, pictures and cost."""

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from denoiselab import architectures
from denoiselab.config.noise import AsIs, NoiseSpec
from denoiselab.config.train import OwnClassifier, Vgg16
from denoiselab.data import noise_sampling, patches
from denoiselab.imaging import dataset_images
from denoiselab.models import model_store, pretrained, vgg
from denoiselab.runtime import devices, distributed, files, parallel, paths, seeding, stage_outputs
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line
from denoiselab.training import batches, loop, losses
from denoiselab.training.calibration import calibrate
from denoiselab.training.checkpoint import Checkpoint
from denoiselab.training.jobs import Plan
from denoiselab.training.validation import Accuracy, HeldOut, Validation

AS_IS = AsIs(kind="as_is", clip=False, quantise=False)


def run(plan: Plan, log: loop.Log) -> loop.Run:
    """Train or calibrate as planned and write the weights, for the first seed also its pictures.

    Several processes train together; the first one writes.
    """
    if distributed.first():
        print(f"{plan.name}: seed {plan.seed}, on {_machine(plan)}", file=sys.stderr)
    model, validate = _prepared(plan)
    if plan.trains:
        result = _train(plan, model, validate, log)
    else:
        result = _calibrate(plan, model, validate)
        for row in result.history:
            log(int(row["step"]), row)
    if distributed.first():
        _write(plan, model, result)
        if not plan.number:
            _write_pictures(plan, validate, result)
    return result


def record(plans: list[Plan], results: list[loop.Run]) -> None:
    """Write the history of an entry's trainings, a row a seed and validation, and what one of them took."""
    rows = [{"seed": plan.seed} | row for plan, result in zip(plans, results, strict=True) for row in result.history]
    first = plans[0]
    files.write_csv(paths.history(first.name), list(dict.fromkeys(key for row in rows for key in row)), rows)
    seconds = fmean(result.seconds for result in results)
    rate = fmean(result.step for result in results) * first.settings.batch / max(seconds, 1e-9)
    stage_outputs.record_training(
        first.name,
        {
            "seconds": seconds,
            "trainings": len(results),
            "images_per_second": rate if first.trains else None,
            "device": _machine(first),
        },
    )


def _machine(plan: Plan) -> str:
    processes = f"{distributed.world()} processes, each on " if distributed.world() > 1 else ""
    return processes + devices.describe(plan.device)


def train(plan: Plan, log: loop.Log) -> loop.Run:
    """Train as planned and write nothing but checkpoints: for a search."""
    model, validate = _prepared(plan)
    return _train(plan, model, validate, log)


def _prepared(plan: Plan) -> tuple[nn.Module, Validation]:
    devices.prepare(plan.device)
    with _enough_memory(plan):
        return _start(plan), _validation(plan)


def _enough_memory(plan: Plan) -> AbstractContextManager[None]:
    settings = plan.settings
    crop, val_patches = settings.crop or plan.params.patches.size, settings.val_patches or "all"
    numbers = {"batch": settings.batch, "crop": crop, "val_patches": val_patches}
    lower = ", ".join(f"{key} ({value})" for key, value in numbers.items())
    return devices.enough_memory(plan.device, f"lower {lower} of models.{plan.name} or train, or the model's width")


def _start(plan: Plan) -> nn.Module:
    """The model as training finds it: fresh, imported, with another entry's weights, or around another's model."""
    torch.manual_seed(seeding.key(plan.seed, "init"))
    model = architectures.build(plan.entry.architecture(), where=f"models.{plan.name}")
    architectures.initialise(model, plan.entry.init)
    if plan.entry.weights:
        file = _obtain(plan.name, plan.entry.weights, plan.entry.sha256)
        pretrained.load_weights(model, plan.entry.arch, file)
    if plan.entry.init_from:
        try:
            model.load_state_dict(model_store.load(plan.needed_folder).state_dict())
        except RuntimeError as error:
            reason = one_line(error)
            raise UserError(f"models.{plan.name}.init_from: its weights do not fit this model: {reason}") from None
    elif getattr(model, "adopts", False):
        if not plan.needed:
            raise UserError(f"models.{plan.name}.needs: must name the classifier that guides it, models/<name>")
        if plan.needed["classes"] != plan.classes:
            raise UserError(f"models.{plan.name}.needs: {plan.entry.needs} was trained on other classes")
        model.adopt(model_store.load(plan.needed_folder))  # type: ignore[operator]
    return model.to(plan.device)


def _validation(plan: Plan) -> Validation:
    kind = Accuracy if plan.task == "classify" else HeldOut if plan.settings.target == "self" else Validation
    labels, has_clean = _numbers(plan, "val"), plan.params.noise.has_clean
    own = (plan.noise, plan.params.seed) if plan.entry.noise and has_clean else None
    return kind(paths.NOISY, paths.PATCHES, plan.settings.val_patches, plan.device, labels=labels, own=own)


def _train(plan: Plan, model: nn.Module, validate: Validation, log: loop.Log) -> loop.Run:
    settings, params = plan.settings, plan.params
    distributed.agree(parameters=plan.card(), data=plan.data_sha256, code=plan.code_sha256)
    stock, spec = _stock(plan)
    checkpoint = Checkpoint(paths.checkpoints(), plan.fingerprint) if distributed.first() else None
    with _enough_memory(plan), checkpoint.held() if checkpoint else nullcontext():
        source = batches.build(stock, settings.batch, settings.crop, params.augment, plan.seed, plan.device)
        return loop.fit(
            model,
            source,
            validate,
            settings,
            spec,
            _objective(plan),
            device=plan.device,
            checkpoint=checkpoint,
            log=log,
        )


def _stock(plan: Plan) -> tuple[batches.Stock, NoiseSpec]:
    """The training patches, with their classes where the data have any, and the noise that is still to be drawn.

    A self-supervised training gets noisy patches in place of the clean ones, and none of these.
    """
    clean, noisy = patches.load(paths.PATCHES, "train"), patches.load_noisy(paths.PATCHES, "train")
    labels = _numbers(plan, "train")
    if plan.settings.target == "self":
        return batches.Stock(noise_sampling.once(clean, noisy, plan.noise, plan.params.seed), None, labels), AS_IS
    return batches.Stock(clean, noisy, labels), plan.noise


def _numbers(plan: Plan, split: str) -> np.ndarray | None:
    """The class of every patch as a number (N,) int64, for a model that is about classes; None for any other.

    ValueError names a class that the training patches do not have.
    """
    if "classes" not in plan.entry.architecture():
        return None
    number = {label: n for n, label in enumerate(plan.classes)}
    labels = patches.labels(paths.PATCHES, split)
    if unknown := sorted({*labels} - {*number}):
        raise UserError(f"models.{plan.name}: {split} patches of a class that training lacks: {', '.join(unknown)}")
    return np.array([number[label] for label in labels])


def _objective(plan: Plan) -> loop.Objective:
    """Cross-entropy for classifiers, the loss of the settings for all others."""
    if plan.task == "classify":
        return lambda output, batch: F.cross_entropy(output, batch.labels)  # type: ignore[arg-type]
    loss = losses.build(plan.settings.loss, _features(plan))
    return lambda output, batch: loss(output, batch.clean)


def _features(plan: Plan) -> nn.Module | None:
    """The net of the perceptual loss."""
    match plan.settings.perceptual:
        case Vgg16(weights=weights, sha256=sha256):
            return vgg.load_weights(_obtain("vgg16", weights, sha256)).to(plan.device)
        case OwnClassifier():
            return model_store.load(plan.needed_folder).to(plan.device)
    return None


def _obtain(name: str, address: str, sha256: str | None) -> Path:
    """A weights file, by DENOISELAB_MIRROR, path or address, and only if its sha256 is the stated."""
    from denoiselab.runtime.download import obtain

    return obtain(name, address, sha256=sha256, folder=paths.downloads(), root=paths.shared_root())


def _calibrate(plan: Plan, model: nn.Module, validate: Validation) -> loop.Run:
    """A model that is not trained: its strength is calibrated, if it has one, and it is validated."""
    started = time.perf_counter()
    with parallel.joblib_backend(plan.params.parallel):
        history = calibrate(model, validate) if getattr(model, "calibrated", False) else []
        scores = validate(model)
    history.append({"step": len(history), **{f"val_{name}": value for name, value in scores.items()}})
    step = len(history) - 1
    best = {name: {"value": value, "step": step, "weights": model.state_dict()} for name, value in scores.items()}
    result = loop.Run(len(history), time.perf_counter() - started, history, best)
    if (picture := validate.picture(model)) is not None:
        result.pictures["last"] = (step, picture)
    return result


def _write(plan: Plan, model: nn.Module, result: loop.Run) -> None:
    best = {name: {"step": kept["step"], f"val_{name}": kept["value"]} for name, kept in result.best.items()}
    outcome = {
        "parameters": model_store.parameters(model),
        "steps": 0 if plan.entry.weights else result.step,
        "best": best,
    }
    weights = {f"best_{name}": kept["weights"] for name, kept in result.best.items()}
    model_store.save(plan.folder, weights, plan.card() | outcome)


def _write_pictures(plan: Plan, validate: Validation, result: loop.Run) -> None:
    """Validation patches, a row each: noisy, restored after the first, middle and last validation, clean
    where that is known."""
    folder = paths.progress(plan.name)
    folder.mkdir(parents=True, exist_ok=True)
    if not result.pictures:
        return
    noisy, clean = validate.inputs()
    moments = {name: result.pictures[name] for name in loop.MOMENTS if name in result.pictures}
    columns = [noisy, *(pixels for _, pixels in moments.values()), *([clean] if validate.has_clean else [])]
    dataset_images.write_png(
        folder / "patches.png", torch.cat([torch.cat([*c], dim=0) for c in columns], dim=1).numpy()
    )
    files.write_json(folder / "steps.json", {name: step for name, (step, _) in moments.items()})
