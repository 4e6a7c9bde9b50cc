"""Training throughput of fit(), relative to the bare forward-backward-step and to a plain DataLoader loop.

    python -m bench.train [--models dncnn unet nafnet_small] [--steps 40] [--rounds 5]

Larger sizes for a GPU: `--models dncnn_paper unet_large nafnet --steps 400`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bench._project import call, compose, photographs, scratch
from bench._show import Target, show, sizes
from denoiselab import architectures
from denoiselab.config import Params, Train
from denoiselab.imaging import dataset_images
from denoiselab.runtime import devices
from denoiselab.training import loop, losses, optimizer
from denoiselab.training.batches import Batch, ResidentBatches, TrainingPatches
from pipeline import ALLOCATOR

COMPARED = """\
Training throughput on {device}: default batch and crop of each model, {patches} photo patches, noise of sigma 25.
`bare` is the upper limit on this machine: forward, backward, gradient clipping and optimiser step on one batch that
stays on the device, with the precision, memory layout and compilation of `fit()`. `plain` is a typical research script,
in its own process without our allocator settings: a Dataset opens each PNG patch with PIL, crops and flips it with
NumPy, converts it to a float tensor and adds noise on the CPU; a shuffling DataLoader has {workers} workers; the model
trains in float32 and NCHW with torch.optim.Adam, uncompiled, and the loss is read at every step. `float32` and
`bfloat16` are `bare` in these precisions. The loops alternate in turns of {steps} steps: median of {rounds} turns after
one warm-up, ratios within a turn."""
PATCHES = 512
WORKERS = 2  # of the plain loop
BARE, PLAIN = 0.9, {"cpu": 1.3, "cuda": 5.0}  # targets: throughput of fit() relative to each loop


def main(argv: Sequence[str] | None = None) -> None:
    names = ["dncnn", "unet", "nafnet_small"]
    args = sizes(__doc__, argv, models=(names, ["unet"]), steps=(40, 3), rounds=(5, 1))
    device = devices.choose("auto")
    with scratch() as folder:
        write_patches(folder)
        rows = [_row(name, args.steps, args.rounds, folder) for name in args.models]
    targets = []
    for row in rows:
        targets.append(
            Target(f"fit() of {row['model']}: throughput / bare loop", row["fit / bare"], BARE, at_least=True)
        )
        if "dncnn" in row["model"]:
            limit = PLAIN[device.type]
            targets.append(
                Target(
                    f"fit() of {row['model']}: throughput / plain loop",
                    row["fit / plain"],
                    limit,
                    at_least=True,
                )
            )
    said = devices.describe(device)
    facts = {"patches": PATCHES, "workers": WORKERS, "steps": args.steps, "rounds": args.rounds}
    show("train", COMPARED.format(device=said, **facts), rows, targets, device=said)


def write_patches(folder: Path) -> None:
    """Write the patches as one file each for the plain loop, and as one array for fit()."""
    size = Params.model_validate(compose()).patches.size
    pixels = np.stack(photographs(PATCHES, (size, size)))
    np.save(folder / "patches.npy", pixels)
    for n, patch in enumerate(pixels):
        dataset_images.write_png(folder / f"{n:04d}.png", patch)


def _row(name: str, steps: int, rounds: int, folder: Path) -> dict[str, Any]:
    found = call("bench.train", "measure", name, steps, rounds, cwd=folder, **ALLOCATOR)
    turns = found["seconds"]

    def ratio(slow: str, fast: str) -> float:
        return median(a / b for a, b in zip(turns[slow], turns[fast], strict=True))

    rate = {f"{loop} images/s": found["batch"] * steps / median(turns[loop]) for loop in ("fit", "bare", "plain")}
    batch = f"{found['batch']} of {found['crop']}x{found['crop']}, {found['precision']}"
    ratios = {"fit / bare": ratio("bare", "fit"), "fit / plain": ratio("plain", "fit")}
    return {"model": name, "batch": batch} | rate | ratios | {"bfloat16 / float32": ratio("float32", "bfloat16")}


def measure(name: str, steps: int, rounds: int) -> None:
    """Print the seconds of each turn of each loop as JSON; the working directory holds the patches."""
    params = _params(name)
    settings = params.training(name)
    device = devices.choose(settings.device)
    devices.prepare(device)
    precision = devices.precision(settings.precision, device)
    changed = {"steps": steps * (rounds + 1), "validate_every": steps, "patience": None, "precision": precision}
    settings = settings.model_copy(update=changed)
    stock = TrainingPatches(np.load("patches.npy"))
    batches = ResidentBatches(stock, settings.batch, settings.crop, True, 0, device)
    block, criterion = params.entry(name).architecture(), losses.build(settings.loss)

    def objective(output: torch.Tensor, batch: Batch) -> torch.Tensor:
        return criterion(output, batch.clean)

    def bare(precision: str) -> Callable[[], float]:
        adapted = settings.model_copy(update={"precision": precision})
        return partial(Bare(architectures.build(block), batches(0).clean, adapted, device), steps)

    with Plain(name, steps) as plain:
        other = "float32" if precision == "bfloat16" else "bfloat16"
        turns = Turns({precision: bare(precision), other: bare(other), "plain": plain}, device)
        loop.fit(architectures.build(block), batches, turns, settings, params.noise.train, objective, device=device)
    seconds = {loop: times[1:] for loop, times in turns.seconds.items()}
    seconds["bare"] = seconds[precision]
    facts = {"batch": batches.order.batch, "crop": batches.crop, "precision": precision}
    print(json.dumps({"seconds": seconds} | facts))


class Turns:
    """Replaces validation: stops the clock of fit() and runs one turn of the other loops."""

    def __init__(self, others: dict[str, Callable[[], float]], device: torch.device):
        self.others, self.device = others, device
        self.seconds: dict[str, list[float]] = {loop: [] for loop in ("fit", *others)}
        self.started = time.perf_counter()

    def __call__(self, model: nn.Module) -> dict[str, float]:
        _wait(self.device)
        self.seconds["fit"].append(time.perf_counter() - self.started)
        for name, other in self.others.items():
            self.seconds[name].append(other())
        self.started = time.perf_counter()
        return {"psnr": 0.0}

    def preview(self, model: nn.Module) -> None:
        return None


class Bare:
    """Forward, backward and optimiser step on one fixed batch."""

    def __init__(self, model: nn.Module, clean: torch.Tensor, settings: Train, device: torch.device):
        model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.parameters = list(model.parameters())
        self.model = devices.compiled(model) if settings.compile else model
        self.optimizer = optimizer.build(self.parameters, settings)
        self.criterion, self.settings, self.device = losses.build(settings.loss), settings, device
        self.clean = clean.contiguous(memory_format=torch.channels_last)
        self.noisy = self.clean + 0.1 * torch.randn_like(self.clean)

    def __call__(self, steps: int) -> float:
        """Run so many steps; returns seconds."""
        started = time.perf_counter()
        for _ in range(steps):
            with devices.autocast(self.device, self.settings.precision):
                restored = self.model(self.noisy)
            loss = self.criterion(restored.float(), self.clean)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.settings.grad_clip:
                nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
            self.optimizer.step()
        _wait(self.device)
        return time.perf_counter() - started


class Plain:
    """The plain loop in its own process, idle between turns."""

    def __init__(self, name: str, steps: int):
        code = f"from bench.train import plain; plain({name!r}, {steps})"
        env = {key: value for key, value in os.environ.items() if key not in ALLOCATOR}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", code], env=env, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()  # closes its standard input, which ends it

    def __call__(self) -> float:
        """Run one turn; returns seconds."""
        assert self.process.stdin and self.process.stdout
        print("go", file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def plain(name: str, steps: int) -> None:
    """Run a turn for every line of standard input, and print its seconds."""
    params = _params(name)
    settings, device = params.training(name), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = architectures.build(params.entry(name).architecture()).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    data = _Pngs(sorted(Path().glob("*.png")), settings.crop or params.patches.size)
    loader = DataLoader(
        data,
        batch_size=settings.batch,
        shuffle=True,
        num_workers=WORKERS,
        drop_last=True,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
    )
    batches = iter(loader)
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(steps):
            pair = next(batches, None)
            if pair is None:
                batches = iter(loader)
                pair = next(batches)
            noisy, clean = (part.to(device) for part in pair)
            optimizer.zero_grad()
            loss = F.mse_loss(model(noisy), clean)
            loss.backward()
            if settings.grad_clip:
                nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
            optimizer.step()
            loss.item()
        print(time.perf_counter() - started, flush=True)


class _Pngs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs (noisy, clean) of random crops (C, H, W) of PNG files."""

    def __init__(self, files: list[Path], crop: int):
        self.files, self.crop = files, crop

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        patch = np.asarray(Image.open(self.files[n]).convert("RGB"))
        top, left = (np.random.randint(0, side - self.crop + 1) for side in patch.shape[:2])
        patch = patch[top : top + self.crop, left : left + self.crop]
        if np.random.rand() < 0.5:
            patch = patch[:, ::-1]
        patch = np.rot90(patch, np.random.randint(4))
        clean = torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1))).float() / 255
        return clean + 25 / 255 * torch.randn_like(clean), clean


def _params(name: str) -> Params:
    return Params.model_validate(compose(f"train={'gpu' if torch.cuda.is_available() else 'cpu'}", f"model=[{name}]"))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
