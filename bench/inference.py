"""Inference: milliseconds per megapixel and peak memory, relative to the bare forward pass, and a large tiled image.

python -m bench.inference [--models dncnn unet nafnet_small] [--side 1024] [--rounds 5] [--megapixels 100]
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from bench._project import call, compose
from bench._show import Target, show, sizes
from denoiselab import architectures
from denoiselab.config import Params
from denoiselab.models import tiled_inference
from denoiselab.runtime import devices
from pipeline import ALLOCATOR

COMPARED = """\
`tiled_inference.restore()` of a colour image of {side}x{side} pixels, `whole`, in `tiles` of {tile}, and whole in
`bfloat16`, from float32 array to float32 array, and the `bare` forward pass on a tensor already on the device, on
{device}; in float32 but for `bfloat16`. The passes alternate
in one process: medians of {rounds} rounds, ratios within a round. Memory is measured in a separate process for each
pass with the stage's allocator settings: peak minus libraries and input image, so the output counts; on a GPU also the
peak of its tensors. Last row: an image of {megapixels} megapixels ({large}x{large}) in tiles by {model}."""
LARGE_MODEL = "unet"
LIMIT_GIB = 2.0  # in addition to the image itself
WARM_UP = 96  # side of the warm-up image, pixels


def main(argv: Sequence[str] | None = None) -> None:
    names = ["dncnn", "unet", "nafnet_small"]
    options = {"models": (names, ["unet"]), "side": (1024, 256), "rounds": (5, 1), "megapixels": (100, 1)}
    args = sizes(__doc__, argv, **options)
    device = devices.choose("auto")
    large = round((1e6 * args.megapixels) ** 0.5)
    rows = [row for name in args.models for row in _rows(name, args.side, args.rounds)]
    rows.append(_large(large))
    compared = COMPARED.format(
        **vars(args),
        device=devices.describe(device),
        tile=_params(LARGE_MODEL).evaluate.tile,
        large=large,
        model=LARGE_MODEL,
    )
    what = f"{args.megapixels} megapixels: peak memory in addition to the image"
    target = Target(what, rows[-1]["peak MiB"] / 1024, LIMIT_GIB, "GiB")
    show("inference", compared, rows, [target])


def _rows(name: str, side: int, rounds: int) -> list[dict[str, Any]]:
    seconds = _run("times", name, side, rounds)
    return [
        {
            "model": name,
            "megapixels": side**2 / 1e6,
            "pass": way,
            "ms per megapixel": 1000 * median(times) / (side**2 / 1e6),
            "time / bare": median(b / a for a, b in zip(seconds["bare"], times, strict=True)),
        }
        | _run("peak", name, side, way)
        for way, times in seconds.items()
    ]


def _large(side: int) -> dict[str, Any]:
    found = _run("peak", LARGE_MODEL, side, "tiles", True)
    about = {"model": LARGE_MODEL, "megapixels": side**2 / 1e6, "pass": "tiles"}
    return about | {"ms per megapixel": 1000 * found.pop("seconds") / (side**2 / 1e6), "time / bare": None} | found


def times(name: str, side: int, rounds: int) -> None:
    """Print, as JSON, the seconds of every round of each pass."""
    passes = _passes(name, side)
    found: dict[str, list[float]] = {way: [] for way in passes}
    for _ in range(rounds + 1):
        for way, one in passes.items():
            started = time.perf_counter()
            one()
            found[way].append(time.perf_counter() - started)
    print(json.dumps({way: seconds[1:] for way, seconds in found.items()}))  # the first round warms up


def peak(name: str, side: int, way: str, timed: bool = False) -> None:
    """Print, as JSON, the memory in MiB that a pass takes at its peak, and its seconds if `timed`."""
    _passes(name, WARM_UP)[way]()
    one, cuda = _passes(name, side)[way], torch.cuda.is_available()
    before = _memory("VmRSS")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    one()
    found: dict[str, float | None] = {"seconds": time.perf_counter() - started} if timed else {}
    found["peak MiB"] = _memory("VmHWM") - before
    found["GPU peak MiB"] = torch.cuda.max_memory_allocated() / 2**20 if cuda else None
    print(json.dumps(found))


def _passes(name: str, side: int) -> dict[str, Callable[[], Any]]:
    """Ways to restore an image of side x side pixels; no tiles for models that need the whole image."""
    params = _params(name)
    device = devices.choose("auto")
    devices.prepare(device)
    torch.manual_seed(0)
    model = architectures.build(params.entry(name).architecture()).to(device).eval()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as loaded
    image = np.random.default_rng(0).random((side, side, params.data.channels), np.float32)

    restored = partial(tiled_inference.restore, model, image, device=device, sigma_255=25.0)
    found: dict[str, Callable[[], Any]] = {"bare": _Bare(model, image, device), "whole": restored}
    found["bfloat16"] = partial(restored, precision="bfloat16")
    return found | ({"tiles": partial(restored, tile=params.evaluate.tile)} if getattr(model, "reach", None) else {})


class _Bare:
    """The forward pass on a tensor that the first call moves to the device."""

    def __init__(self, model: nn.Module, image: np.ndarray, device: torch.device):
        self.model, self.image, self.device = model, image, device
        self.noisy: torch.Tensor | None = None

    @torch.inference_mode()
    def __call__(self) -> None:
        if self.noisy is None:
            self.noisy = torch.from_numpy(self.image).permute(2, 0, 1)[None].to(self.device)
        tiled_inference.forward(self.model, self.noisy, 25.0)
        if self.noisy.is_cuda:
            torch.cuda.synchronize()


def _memory(name: str) -> float:
    """VmRSS (resident) or VmHWM (peak) of this process in MiB; Linux only."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found
    return int(found[1]) / 1024


def _params(name: str) -> Params:
    return Params.model_validate(compose(f"model=[{name}]"))


def _run(function: str, *arguments: Any) -> dict[str, Any]:
    """Call a function of this module in a new process with the stage's allocator settings."""
    return call("bench.inference", function, *arguments, **ALLOCATOR)


if __name__ == "__main__":
    main()
