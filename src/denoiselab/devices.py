"""Which device computes, and how it is set up to give the same bytes again."""

import os
import platform
import shutil
import sys

import psutil
import torch
from torch import nn


def choose(wanted: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. ValueError where CUDA is asked for and missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device: cuda is asked for, but torch sees no CUDA device; allowed here: auto, cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def prepare(device: torch.device) -> None:
    """On CUDA: deterministic algorithms only, no TF32. What is used here on the CPU is deterministic as it is."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # else kernels are chosen by the clock
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had: of the GPU on CUDA, else of the machine without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def compiled(model: nn.Module) -> nn.Module:
    """`model` through torch.compile for inputs of one shape; `model` itself stays what it was and shares its weights.

    ValueError where there is no C++ compiler, which torch.compile needs.
    """
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if not shutil.which(compiler):
        raise ValueError(
            f"train.compile: true needs a C++ compiler, but there is no {compiler}; install it or say false"
        )
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"
