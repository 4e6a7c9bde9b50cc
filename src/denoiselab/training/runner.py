"""Runs stage train for one entry of params.models: builds the model, trains or calibrates it, writes its files."""

import math
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
from denoiselab.imaging import dataset_images, depths
from denoiselab.models import model_store, pretrained, vgg
from denoiselab.runtime import devices, distributed, files, other_work, parallel, paths, seeding, stage_outputs
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line
from denoiselab.training import batches, loop, losses
from denoiselab.training.calibration import calibrate
from denoiselab.training.checkpoint import Checkpoint
from denoiselab.training.jobs import Job
from denoiselab.training.validation import BlindSpotValidation, ClassifierValidation, Validation

AS_IS = AsIs(kind="as_is", clip=False, quantise=False)


def run(job: Job, log: loop.Log) -> loop.TrainingState:
    """Train or calibrate the model of a job; write its weights and, for the first seed, the validation previews.

    With several processes, all train together and the first one writes.
    """
    if distributed.is_first():
        print(f"{job.name}: seed {job.seed}, on {_machine(job)}", file=sys.stderr)
    model, validate = _prepared(job)
    if job.trains:
        result = _train(job, model, validate, log)
    else:
        result = _calibrate(job, model, validate)
        for row in result.history:
            log(int(row["step"]), row)
    if distributed.is_first():
        _write(job, model, result)
        if not job.number:
            _write_previews(job, validate, result)
    return result


def record(jobs: list[Job], results: list[loop.TrainingState]) -> None:
    """Write the history of an entry's training runs (one row per seed and validation) and the mean cost of a run."""
    rows = [{"seed": job.seed} | row for job, result in zip(jobs, results, strict=True) for row in result.history]
    first = jobs[0]
    files.write_csv(paths.history(first.name), list(dict.fromkeys(key for row in rows for key in row)), rows)
    seconds = fmean(result.seconds for result in results)
    rate = fmean(result.step for result in results) * first.settings.batch / max(seconds, 1e-9)
    load = other_work.since_start(seconds * len(results)) if distributed.world_size() == 1 else {}
    stage_outputs.record_training(
        first.name,
        {
            "seconds": seconds,
            "trainings": len(results),
            "images_per_second": rate if first.trains else None,
            "device": _machine(first),
        }
        | load,
    )


def _machine(job: Job) -> str:
    processes = f"{distributed.world_size()} processes, each on " if distributed.world_size() > 1 else ""
    precision = f", {job.settings.precision}" if job.trains else ""
    return processes + devices.describe(job.device) + precision


def train(job: Job, log: loop.Log) -> loop.TrainingState:
    """Train, writing only checkpoints: for the trials of a hyper-parameter search."""
    model, validate = _prepared(job)
    return _train(job, model, validate, log)


def _prepared(job: Job) -> tuple[nn.Module, Validation]:
    devices.prepare(job.device)
    with _enough_memory(job):
        return _start(job), _validation(job)


def _enough_memory(job: Job) -> AbstractContextManager[None]:
    settings = job.settings
    crop, val_patches = settings.crop or job.params.patches.size, settings.val_patches or "all"
    numbers = {"batch": settings.batch, "crop": crop, "val_patches": val_patches}
    lower = ", ".join(f"{key} ({value})" for key, value in numbers.items())
    return devices.enough_memory(job.device, f"lower {lower} of models.{job.name} or train, or the model's width")


def _start(job: Job) -> nn.Module:
    """The model before training: initialised, with imported weights, or with another entry's weights or network."""
    torch.manual_seed(seeding.key(job.seed, "init"))
    model = architectures.build(job.entry.architecture(), where=f"models.{job.name}")
    architectures.initialise(model, job.entry.init)
    if job.entry.weights:
        file = _obtain(job.name, job.entry.weights, job.entry.sha256)
        pretrained.load_weights(model, job.entry.architecture(), file)
    if job.entry.init_from:
        try:
            model.load_state_dict(model_store.load(job.needed_folder).state_dict())
        except RuntimeError as error:
            raise UserError(
                f"models.{job.name}.init_from: its weights do not fit this model: {one_line(error)}"
            ) from None
    elif getattr(model, "adopts", False):
        if not job.needed:
            raise UserError(f"models.{job.name}.needs: must name the classifier that guides it, models/<name>")
        if job.needed["classes"] != job.classes:
            raise UserError(f"models.{job.name}.needs: {job.entry.needs} was trained on other classes")
        model.adopt(model_store.load(job.needed_folder))  # type: ignore[operator]
    return model.to(job.device)


def _validation(job: Job) -> Validation:
    kind = (
        ClassifierValidation
        if job.task == "classify"
        else BlindSpotValidation
        if job.settings.target == "self"
        else Validation
    )
    labels, has_clean = _class_indices(job, "val"), job.params.noise.has_clean
    own = (job.noise, job.params.seed) if job.entry.noise and has_clean else None
    return kind(paths.NOISY, paths.PATCHES, job.settings.val_patches, job.device, labels=labels, own=own)


def _train(job: Job, model: nn.Module, validate: Validation, log: loop.Log) -> loop.TrainingState:
    settings, params = job.settings, job.params
    distributed.check_equal(parameters=job.card(), data=job.data_sha256, code=job.code)
    stock, spec = _stock(job)
    checkpoint = Checkpoint(paths.checkpoints(), job.fingerprint, job.identity) if distributed.is_first() else None
    with _enough_memory(job), checkpoint.held() if checkpoint else nullcontext():
        source = batches.build(stock, settings.batch, settings.crop, params.augment, job.seed, job.device)
        return loop.fit(
            model,
            source,
            validate,
            settings,
            spec,
            _objective(job),
            device=job.device,
            rounding=depths.steps(stock.clean.dtype),
            checkpoint=checkpoint,
            log=log,
        )


def _stock(job: Job) -> tuple[batches.TrainingPatches, NoiseSpec]:
    """The training patches, with labels if the data have classes, and the noise to add at every step.

    Self-supervised training uses noisy patches instead of clean ones and adds no noise.
    """
    clean, noisy = patches.load(paths.PATCHES, "train"), patches.load_noisy(paths.PATCHES, "train")
    labels = _class_indices(job, "train")
    if job.settings.target == "self":
        return batches.TrainingPatches(
            noise_sampling.fixed_training_noise(clean, noisy, job.noise, job.params.seed), None, labels
        ), AS_IS
    return batches.TrainingPatches(clean, noisy, labels), job.noise


def _class_indices(job: Job, split: str) -> np.ndarray | None:
    """Class index of every patch, (N,) int64, for a model that uses classes, else None.

    UserError for a class that has no training patches.
    """
    if "classes" not in job.entry.architecture():
        return None
    number = {label: n for n, label in enumerate(job.classes)}
    labels = patches.labels(paths.PATCHES, split)
    if unknown := sorted({*labels} - {*number}):
        raise UserError(f"models.{job.name}: {split} patches of a class that training lacks: {', '.join(unknown)}")
    return np.array([number[label] for label in labels])


def _objective(job: Job) -> loop.Objective:
    """Cross-entropy for classifiers, else the loss of the settings."""
    if job.task == "classify":
        return lambda output, batch: F.cross_entropy(output, batch.labels)  # type: ignore[arg-type]
    loss = losses.build(job.settings.loss, _features(job))
    return lambda output, batch: loss(output, batch.clean)


def _features(job: Job) -> nn.Module | None:
    """The network of the perceptual loss."""
    match job.settings.perceptual:
        case Vgg16(weights=weights, sha256=sha256):
            return vgg.load_weights(_obtain("vgg16", weights, sha256)).to(job.device)
        case OwnClassifier():
            return model_store.load(job.needed_folder).to(job.device)
    return None


def _obtain(name: str, address: str, sha256: str | None) -> Path:
    """A weights file, from DENOISELAB_MIRROR, a path or an address, verified by its sha256."""
    from denoiselab.runtime.download import obtain

    return obtain(name, address, sha256=sha256, folder=paths.downloads(), root=paths.shared_root())


def _calibrate(job: Job, model: nn.Module, validate: Validation) -> loop.TrainingState:
    """Calibrate and validate a classical method; imported weights and the identity are only validated."""
    started = time.perf_counter()
    with parallel.joblib_backend(job.params.parallel):
        history = calibrate(model, validate) if getattr(model, "calibrated", False) else []
        scores = validate(model)
    if any(math.isnan(value) for value in scores.values()):
        raise UserError(f"models.{job.name}: its outputs for the validation patches are not finite")
    history.append({"step": len(history), **{f"val_{name}": value for name, value in scores.items()}})
    step = len(history) - 1
    best = {name: {"value": value, "step": step, "weights": model.state_dict()} for name, value in scores.items()}
    result = loop.TrainingState(len(history), time.perf_counter() - started, history, best)
    if (preview := validate.preview(model)) is not None:
        result.previews["last"] = (step, preview)
    return result


def _write(job: Job, model: nn.Module, result: loop.TrainingState) -> None:
    best = {name: {"step": kept["step"], f"val_{name}": kept["value"]} for name, kept in result.best.items()}
    outcome = {
        "parameters": model_store.parameters(model),
        "steps": 0 if job.entry.weights else result.step,
        "best": best,
    }
    weights = {f"best_{name}": kept["weights"] for name, kept in result.best.items()}
    model_store.save(job.folder, weights, job.card() | outcome)


def _write_previews(job: Job, validate: Validation, result: loop.TrainingState) -> None:
    """One row per validation patch: noisy; restored at the first, middle and last validation; clean if known."""
    folder = paths.progress(job.name)
    folder.mkdir(parents=True, exist_ok=True)
    if not result.previews:
        return
    noisy, clean = validate.inputs()
    moments = {name: result.previews[name] for name in loop.MOMENTS if name in result.previews}
    columns = [noisy, *(pixels for _, pixels in moments.values()), *([clean] if validate.has_clean else [])]
    dataset_images.write_png(
        folder / "patches.png", torch.cat([torch.cat([*c], dim=0) for c in columns], dim=1).numpy()
    )
    files.write_json(folder / "steps.json", {name: step for name, (step, _) in moments.items()})
