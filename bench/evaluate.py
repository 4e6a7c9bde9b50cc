"""Time of stage evaluate, relative to the bare forward pass on the same images.

python -m bench.evaluate [--models dncnn unet nafnet_small] [--images 40] [--rounds 2]
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from bench._project import call, scratch
from bench._show import Target, show, sizes
from bench._stages import of_photographs, prepare, train
from denoiselab import config
from denoiselab.data import noise_sampling, noisy_sets
from denoiselab.evaluation import scoring
from denoiselab.models import model_store, tiled_inference
from denoiselab.runtime import devices, files, paths
from pipeline import ALLOCATOR

COMPARED = """\
Stage evaluate on {device}: reads, checks and restores {images} colour photos of {width}x{height} pixels with Gaussian
noise of sigma 25, and crops of {curve} of them at every level of the noise curve; computes PSNR, SSIM, MSE and alarms;
writes example outputs and tables. Default models, trained for one step. `forward` is the bare forward pass on the same
images and crops, already in memory, one at a time, with all threads. Both alternate in one process with the stage's
allocator settings; medians of {rounds}, without start-up."""
CURVE = 4  # images of the noise curve instead of 12, so that its crops have fewer pixels than the images
SHAPE, SMALL = (321, 481), (128, 128)  # pixels: as in BSDS500, and with --quick
LIMIT = 1.25


def main(argv: Sequence[str] | None = None) -> None:
    models = ["dncnn", "unet", "nafnet_small"]
    args = sizes(__doc__, argv, models=(models, ["unet"]), images=(40, 2), rounds=(2, 1))
    device = devices.describe(devices.choose("auto"))
    shape = SMALL if args.quick else SHAPE
    with scratch():
        params = _params(args.models, args.images, shape)
        prepare(params)
        for name in args.models:
            train(params, name)
        rows = [_row(name, args.rounds) for name in args.models]
    targets = [Target(f"evaluate {row['model']}: time / forward pass", row["ratio"], LIMIT) for row in rows]
    about = {"images": args.images, "height": shape[0], "width": shape[1], "curve": CURVE, "rounds": args.rounds}
    show("evaluate", COMPARED.format(**about, device=device), rows, targets)


def measure(name: str, rounds: int) -> None:
    """Print the seconds of each forward pass and of each evaluation as JSON."""
    params = config.load()
    device = devices.choose(params.training(name).device)
    devices.prepare(device)
    model = model_store.load(paths.model(name)).to(device).eval()
    inputs = _inputs(params, device)
    precision = devices.precision(params.training(name).precision, device)
    forward, whole = [], []
    with devices.autocast(device, precision):
        tiled_inference.forward(model, *inputs[0])
    for _ in range(rounds):
        with devices.autocast(device, precision):
            forward.append(_forward(model, inputs))
        started = time.perf_counter()
        scoring.evaluate(params, name)
        whole.append(time.perf_counter() - started)
    print(json.dumps({"forward": forward, "evaluate": whole}))


def _params(models: list[str], images: int, shape: tuple[int, int]) -> config.Params:
    tree = of_photographs(images, shape, "noise=gaussian25", f"model=[{','.join(models)}]")
    tree["train"] |= {"steps": 1, "validate_every": 1, "val_patches": 1}
    tree["evaluate"]["curve"] |= {"images": CURVE, "crop": min(shape[0], tree["evaluate"]["curve"]["crop"])}
    for name in models:  # remove per-model training lengths
        tree["models"][name] = {k: v for k, v in tree["models"][name].items() if k not in ("steps", "validate_every")}
    files.write_text(Path("params.yaml"), json.dumps(tree))  # JSON is YAML
    return config.load()


def _row(name: str, rounds: int) -> dict[str, Any]:
    found = call("bench.evaluate", "measure", name, rounds, **ALLOCATOR)
    ratios = [whole / bare for whole, bare in zip(found["evaluate"], found["forward"], strict=True)]
    return {
        "model": name,
        "forward s": median(found["forward"]),
        "evaluate s": median(found["evaluate"]),
        "ratio": median(ratios),
    }


def _inputs(params: config.Params, device: torch.device) -> list[tuple[torch.Tensor, float]]:
    """Every input that evaluate restores: noisy image (1, C, H, W) on the device, and its noise level."""
    found = []
    for condition in (noisy_sets.read(paths.NOISY, key) for key in noisy_sets.names(paths.NOISY)):
        tests = noisy_sets.test(paths.RAW, paths.NOISY, condition.name, params.data.channels)
        found += [(condition.sigma_255, test) for test in tests]
    found += noise_sampling.curve(paths.RAW, params)
    return [(torch.from_numpy(test.noisy).movedim(-1, 0)[None].to(device), level) for level, test in found]


@torch.inference_mode()
def _forward(model: nn.Module, inputs: list[tuple[torch.Tensor, float]]) -> float:
    """Seconds of the bare forward pass on all inputs."""
    started = time.perf_counter()
    for noisy, level in inputs:
        tiled_inference.forward(model, noisy, level)
    if inputs[0][0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
