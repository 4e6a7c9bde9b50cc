"""Training throughput: fit() against a bare forward-backward-step on the same resident batch.

    python -m bench.train_throughput [--model unet] [--steps 200] [--rounds 5]

The bare loop has no noise, no sampling, no schedule, no validation: it is the most this machine gives with the
same model, batch, optimiser and gradient clipping. Both are timed in turn in one process; the median of the
rounds' ratios is what counts.
"""

import argparse
import json
import time
from statistics import median

import numpy as np
import torch
from torch import nn

from denoiselab import config, devices, losses, models, optim, training
from denoiselab.batches import Batch, ResidentBatches, Stock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="unet", help="an entry of params.models")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    params = config.load()
    settings = params.training(args.model).model_copy(update={"steps": args.steps, "validate_every": args.steps})
    device = devices.choose(settings.device)
    devices.prepare(device)
    patches = np.random.default_rng(0).integers(
        0, 256, (512, params.patches.size, params.patches.size, params.data.channels), np.uint8
    )
    batches = ResidentBatches(Stock(patches), settings.batch, settings.crop, True, 0, device)
    block = params.entry(args.model).architecture()
    bare, ours = [], []
    for turn in range(args.rounds + 1):
        times = (
            _bare(models.build(block), batches, settings, device),
            _fit(models.build(block), batches, settings, params, device),
        )
        if turn:  # the first round warms up
            bare.append(settings.batch * args.steps / times[0])
            ours.append(settings.batch * args.steps / times[1])
    ratio = median(b / a for a, b in zip(bare, ours, strict=True))
    print(f"{args.model}, batch {settings.batch} of {batches.crop}x{batches.crop}, on {devices.describe(device)}")
    for loop, rate in (("bare forward-backward-step", median(bare)), ("fit()", median(ours))):
        print(f"{loop:<28}{rate:>10.1f} images/s")
    print(f"{'ratio':<28}{ratio:>10.3f}")
    print(
        json.dumps(
            {
                "bench": "train_throughput",
                "model": args.model,
                "bare": median(bare),
                "fit": median(ours),
                "ratio": ratio,
            }
        )
    )


def _bare(model: nn.Module, batches: ResidentBatches, settings: config.Train, device: torch.device) -> float:
    model.to(device, memory_format=torch.channels_last).train()
    optimizer = optim.build(list(model.parameters()), settings)
    criterion = losses.build(settings.loss)
    clean = batches(0)[0].contiguous(memory_format=torch.channels_last)
    noisy = clean + 0.1 * torch.randn_like(clean)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
    _wait(device)
    started = time.perf_counter()
    for _ in range(settings.steps):
        with autocast:
            restored = model(noisy)
        loss = criterion(restored.float(), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizer.step()
    _wait(device)
    return time.perf_counter() - started


def _fit(
    model: nn.Module, batches: ResidentBatches, settings: config.Train, params: config.Params, device: torch.device
) -> float:
    criterion = losses.build(settings.loss)

    def objective(output: torch.Tensor, batch: Batch) -> torch.Tensor:
        return criterion(output, batch.clean)

    started = time.perf_counter()
    training.fit(model, batches, _Validated(), settings, params.noise.train, objective, device=device)
    _wait(device)
    return time.perf_counter() - started


class _Validated:
    """No validation at all."""

    def __call__(self, model: nn.Module) -> dict[str, float]:
        return {"psnr": 0.0, "ssim": 0.0}

    def picture(self, model: nn.Module) -> None:
        return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
