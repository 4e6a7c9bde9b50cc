"""Training time to a given quality on one device, with the project's own training loop, inference and metrics.

    python -m bench.speedrun [--tasks gray colour10 colour30] [--seeds 3] [--out reports/speedrun] [--toy]

gray: train DnCNN 17x64 on Train400 until it reaches the paper's 29.23 dB on BSD68 at sigma 25. colour10, colour30:
train DRUNet for 10 or 30 minutes on the 400 training images of BSDS500 and test it on CBSD68 at sigma 15, 25 and 50.
Writes speedrun.md and speedrun.json. `--toy` only checks that the script works: narrow networks, seconds, packaged
photos. On a machine without DVC or network, or to split a task into several sittings, use bench.alone.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench._project import compose
from bench._show import table
from denoiselab import architectures
from denoiselab.comparison import bootstrap
from denoiselab.config import Params, Train
from denoiselab.data import noise_sampling, noisy_sets, patches
from denoiselab.metrics import image_quality
from denoiselab.models import tiled_inference
from denoiselab.runtime import devices, files, seeding
from denoiselab.training import batches, loop, losses
from denoiselab.training.checkpoint import Checkpoint
from denoiselab.training.validation import Validation

PROBE = 40  # steps, twice: the first 40 warm up and compile, the next 40 measure the speed
SHARE = 0.93  # of the remaining time is for training steps, the rest for validation
VALIDATIONS = 40
LOOK_DB = 0.02  # gain in validation PSNR since the last test that triggers another test

CLASSIC = ("data=bsd400_gray", "noise=gaussian25", "model=[dncnn_paper]", "train=gpu")
COLOUR = ("data=bsds500", "noise=blind55", "model=[drunet]", "train=gpu")
TOY = ("data=embedded", "data.allow_leak=true", "train=cpu", "train.batch=4", "train.crop=32", "train.val_patches=4")
SMALL = ("patches.size=64", "patches.stride=64", "patches.val_size=64", "patches.scales=[0.5]")


@dataclass(frozen=True)
class Task:
    """One task of the speed-run: data, model, training settings and stopping rule."""

    goal: str
    overrides: tuple[str, ...]  # as for `dvc exp run -S`
    model: str  # entry of params.models
    limit_s: float  # duration of the learning rate schedule
    tests: str  # test set; empty: all test images
    target_db: float | None = None  # test PSNR at which training stops
    probe: int = PROBE
    validations: int = VALIDATIONS


def _gray(*overrides: str) -> tuple[str, ...]:
    cut = ("patches.size=90", "patches.stride=30", "patches.val_size=180", "patches.scales=[1.0,0.9,0.8,0.7]")
    train = ("train.batch=128", "train.crop=40", "train.warmup_steps=200", "train.ema=0.999", "train.val_patches=null")
    return (*CLASSIC, *cut, *train, "models.dncnn_paper.lr=0.002", *overrides)


def _colour(*overrides: str) -> tuple[str, ...]:
    cut = ("patches.size=160", "patches.stride=80", "patches.val_size=160", "patches.scales=[1.0]")
    train = ("train.batch=32", "train.crop=128", "train.warmup_steps=500", "train.ema=0.999", "train.val_patches=60")
    return (*COLOUR, *cut, *train, "models.drunet.lr=0.0005", *overrides)


CHOICE = """\
DRUNet at its published size represents the available models: it has the best published result on CBSD68 (31.69 dB at
sigma 25), and as it uses plain convolutions without normalisation or global attention, it comes closest to the peak
bfloat16 speed of a GPU. It receives the noise level as input; one network covers all three levels."""
TASKS = {
    "gray": Task("DnCNN 17x64, Train400, until BSD68 reaches 29.23 dB", _gray(), "dncnn_paper", 180, "BSD68", 29.23),
    "colour10": Task("DRUNet, BSDS500 in colour, 10 minutes", _colour(), "drunet", 600, "CBSD68"),
    "colour30": Task("DRUNet, BSDS500 in colour, 30 minutes", _colour(), "drunet", 1800, "CBSD68"),
}
_TOY_GRAY = (*TOY, *SMALL, "data.channels=1", "noise=gaussian25", "model=[dncnn]", "models.dncnn.depth=3")
_TOY_COLOUR = (*TOY, *SMALL, "noise=blind55", "model=[drunet_small]", "models.drunet_small.widths=[4,8]")
_TOY = {"tests": "", "probe": 3, "validations": 4}
TOYS = {
    "gray": Task("toy: DnCNN 3x32 until 21 dB", _TOY_GRAY, "dncnn", 20, target_db=21.0, **_TOY),  # type: ignore[arg-type]
    "colour10": Task("toy: DRUNet 4-8, 10 seconds", _TOY_COLOUR, "drunet_small", 10, **_TOY),  # type: ignore[arg-type]
    "colour30": Task("toy: DRUNet 4-8, 15 seconds", _TOY_COLOUR, "drunet_small", 15, **_TOY),  # type: ignore[arg-type]
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    args = parser.parse_args(argv)
    tasks = TOYS if args.toy else TASKS
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.tasks:
            params = Params.model_validate(compose(*tasks[name].overrides))
            for seed in range(args.seeds):
                found = run(name, tasks[name], params, Path(scratch), seed)
                assert found, "an unlimited sitting cannot end early"
                record(args.out, found, args.toy)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3, help="training runs per task (default: 3)")
    parser.add_argument(
        "--out", type=Path, default=Path("reports/speedrun"), help="output folder (default: reports/speedrun)"
    )
    parser.add_argument("--toy", action="store_true", help="seconds on a CPU, only to check that the script works")


class Reached(Exception):  # noqa: N818  (no error)
    """The target PSNR is reached."""


class Paused(Exception):  # noqa: N818  (no error)
    """The sitting is over; the checkpoint allows it to be resumed."""


def prepare(params: Params, folder: Path) -> None:
    """Write images, patches and stored noise as the stages do, unless `folder` has them already."""
    from denoiselab.data.fetch import fetch

    if (folder / "done").exists():
        return
    fetch(params.data, folder / "raw")
    patches.cut(folder / "raw", params.patches, params.data.channels, folder / "patches", params.parallel)
    noise_sampling.write(folder / "raw", folder / "patches", params, folder / "noisy")
    (folder / "done").touch()


def run(
    name: str, task: Task, params: Params, scratch: Path, seed: int, sitting_s: float = float("inf")
) -> dict[str, Any] | None:
    """Train from one seed and test. Returns the entry for the log, or None if the sitting ended first."""
    ground = scratch / f"{params.data.name}-{params.data.channels}"
    prepare(params, ground)
    race = Race(task, params, ground, seed, sitting_s)
    try:
        race.train(scratch / "sittings" / f"{name}-{seed}")
    except Reached:
        pass
    except Paused:
        return None
    machine = f"{devices.describe(race.device)}, torch {torch.__version__}"
    return {"task": name, "goal": task.goal, "seed": seed, "machine": machine} | race.found


class Race:
    """One timed training run. The clock starts on construction: patches are on disk, nothing is on the device."""

    def __init__(self, task: Task, params: Params, ground: Path, seed: int, sitting_s: float):
        self.started = time.perf_counter()
        self.task, self.params, self.ground, self.seed, self.sitting_s = task, params, ground, seed, sitting_s
        self.settings = params.training(task.model)
        self.device = devices.choose(self.settings.device)
        devices.prepare(self.device)
        stock = batches.TrainingPatches(patches.load(ground / "patches", "train"))
        settings = self.settings
        self.batches = batches.build(stock, settings.batch, settings.crop, params.augment, seed, self.device)
        self.validation = Validation(ground / "noisy", ground / "patches", settings.val_patches, self.device)
        self.looked = float("-inf")  # validation PSNR at the last test
        self.found: dict[str, Any] = {"looks": [], "history": []}

    def train(self, sittings: Path) -> None:
        """Measure how many steps fit the time limit, train for them, and test the weights of the best validation."""
        budget = self._budget(sittings / "budget.json")
        every = max(1, budget["steps"] // self.task.validations)
        settings = self.settings.model_copy(update={"steps": budget["steps"], "validate_every": every})
        checkpoint = Checkpoint(sittings, "training")
        self.found |= {"steps": budget["steps"], "seconds": None}
        with checkpoint.held():
            result = self._fit(settings, self, checkpoint, self._log)
        self.found["seconds"] = budget["seconds"] + result.seconds
        model = self._model()
        model.load_state_dict(result.best["psnr"]["weights"])
        self.found["scores"] = {key: self._tested(model, key) for key in noisy_sets.names(self.ground / "noisy")}

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Validate, and test if validation PSNR has risen enough. Raises Reached once the test reaches the target."""
        scores = self.validation(model)
        if self.task.target_db is not None and scores["psnr"] >= self.looked + LOOK_DB:
            self.looked = scores["psnr"]
            (key,) = noisy_sets.names(self.ground / "noisy")
            score = self._tested(model, key)
            seconds = time.perf_counter() - self.started
            self.found["looks"].append({"seconds": seconds, "val_psnr": scores["psnr"], "psnr": score["psnr"]})
            if score["psnr"] >= self.task.target_db:
                self.found |= {"seconds": seconds, "scores": {key: score}, "reached": True}
                raise Reached
        return scores

    def preview(self, model: nn.Module) -> None:
        return None

    def _budget(self, path: Path) -> dict[str, Any]:
        """`steps` that fit the time limit, and the `seconds` that measuring this took, including compilation."""
        if path.exists():  # measured in an earlier sitting
            return files.read_json(path)
        times: list[float] = []

        class Clock:
            def __call__(self, model: nn.Module) -> dict[str, float]:
                times.append(time.perf_counter())
                return {"psnr": 0.0}

            def preview(self, model: nn.Module) -> None:
                return None

        probe = self.task.probe
        self._fit(self.settings.model_copy(update={"steps": 2 * probe, "validate_every": probe}), Clock())
        seconds = time.perf_counter() - self.started
        left = max(0.0, self.task.limit_s - seconds)
        steps = max(self.task.validations, int(SHARE * left / (times[1] - times[0]) * probe))
        files.write_json(path, {"steps": steps, "seconds": seconds})
        return files.read_json(path)

    def _model(self) -> nn.Module:
        torch.manual_seed(seeding.key(self.seed, "init"))
        return architectures.build(self.params.entry(self.task.model).architecture()).to(self.device)

    def _fit(
        self,
        settings: Train,
        validate: loop.Validate,
        checkpoint: Checkpoint | None = None,
        log: loop.Log = lambda step, row: None,
    ) -> loop.TrainingState:
        criterion = losses.build(settings.loss)

        def objective(output: torch.Tensor, batch: batches.Batch) -> torch.Tensor:
            return criterion(output, batch.clean)

        noise, device = self.params.noise.train, self.device
        return loop.fit(
            self._model(),
            self.batches,
            validate,
            settings,
            noise,
            objective,
            device=device,
            checkpoint=checkpoint,
            log=log,
        )

    def _log(self, step: int, row: dict[str, float]) -> None:
        self.found["history"].append(row)
        if time.perf_counter() - self.started > self.sitting_s and step < self.found["steps"]:
            raise Paused

    def _tested(self, model: nn.Module, key: str) -> dict[str, float]:
        """Mean PSNR of the 8-bit output on the test images of one condition, with its interval over images."""
        sigma_255 = noisy_sets.read(self.ground / "noisy", key).sigma_255
        channels, values = self.params.data.channels, []
        for test in noisy_sets.test(self.ground / "raw", self.ground / "noisy", key, channels):
            if self.task.tests and self.task.tests not in test.sets:
                continue
            restored = tiled_inference.restore(model, test.noisy, device=self.device, sigma_255=sigma_255)
            values.append(image_quality.capped_psnr(test.clean, image_quality.to_uint8(restored), data_range=255))
        evaluate = self.params.evaluate
        interval = bootstrap.mean_interval(
            np.array(values), confidence=evaluate.confidence, resamples=evaluate.resamples, seed=self.params.seed
        )
        return {"psnr": interval.mean, "low": interval.low, "high": interval.high, "images": len(values)}


def record(out: Path, found: dict[str, Any], toy: bool) -> None:
    """Add a training run to the log, replacing an earlier one of the same task and seed, and rewrite the page."""
    runs = {(one["task"], one["seed"]): one for one in [*recorded(out), found]}
    in_order = [runs[key] for key in sorted(runs)]
    files.write_json(out / "speedrun.json", in_order)
    files.write_text(out / "speedrun.md", page(in_order, toy))
    print(json.dumps({key: found[key] for key in ("task", "seed", "seconds", "steps", "scores")}), flush=True)


def recorded(out: Path) -> list[dict[str, Any]]:
    """The training runs in the log."""
    log = out / "speedrun.json"
    return files.read_json(log) if log.exists() else []


def page(runs: list[dict[str, Any]], toy: bool) -> str:
    """The training runs as a Markdown page."""
    parts = [f"# Time to quality on {runs[0]['machine']}"]
    if toy or not torch.cuda.is_available():
        parts.append("**Not measured on a GPU.** These numbers only show that the script works.")
    if toy:
        parts.append(
            "Toy size: smaller networks, packaged photos instead of the data sets, seconds instead of minutes."
        )
    parts.append(
        "The clock starts with the patches on disk and nothing on the device. It includes data transfer, compilation, "
        "measuring how many steps fit the time limit, training, validation and, for `gray`, the tests. `gray` is "
        f"tested whenever validation PSNR (on held-out training images) is {LOOK_DB} dB above that at the last test, "
        "and stops at the first test that reaches the target. The other tasks are tested once, with the weights of the "
        "best validation, after the clock has stopped. PSNR of the 8-bit output: mean over images with its 95 % "
        f"interval. Test noise is the pipeline's stored noise, not clipped.\n\n{CHOICE}"
    )
    rows = [_row(one, key, score) for one in runs for key, score in one["scores"].items()]
    return "\n\n".join([*parts, table(rows)]) + "\n"


def _row(one: dict[str, Any], key: str, score: dict[str, float]) -> dict[str, Any]:
    has_target = bool(one["looks"])
    return {
        "task": f"{one['task']}: {one['goal']}",
        "seed": one["seed"],
        "seconds": one["seconds"],
        "schedule steps": one["steps"],
        "tests": len(one["looks"]) if has_target else None,
        "reached": ("yes" if one.get("reached") else "no") if has_target else "–",
        "noise": key,
        "images": score["images"],
        "PSNR dB": f"{score['psnr']:.2f} [{score['low']:.2f}, {score['high']:.2f}]",
    }


if __name__ == "__main__":
    main()
