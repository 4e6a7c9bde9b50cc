"""Typed settings: params.yaml, parsed and checked. params.py has the whole file, the other modules its blocks."""

from denoiselab.config.base import check
from denoiselab.config.params import (
    Alarms,
    Albumentations,
    Augment,
    Curve,
    Entry,
    Evaluate,
    Lpips,
    NoAugmentation,
    Parallel,
    Params,
    Patches,
    Protocol,
    Transform,
    Turns,
    load,
)
from denoiselab.config.train import Train

__all__ = [
    "Alarms",
    "Albumentations",
    "Augment",
    "Curve",
    "Entry",
    "Evaluate",
    "Lpips",
    "NoAugmentation",
    "Parallel",
    "Params",
    "Patches",
    "Protocol",
    "Train",
    "Transform",
    "Turns",
    "check",
    "load",
]
