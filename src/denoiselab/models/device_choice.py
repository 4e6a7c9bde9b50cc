"""Device of a model in params.yaml: `train.device`, but always the CPU for methods without weights."""

import torch

from denoiselab import architectures
from denoiselab.config import Params
from denoiselab.models import model_store
from denoiselab.runtime import devices


def has_weights(params: Params, name: str) -> bool:
    """Whether the model has weights (trained or imported). UserError if its block is invalid."""
    architecture = params.entry(name).architecture()
    architectures.check(architecture, where=f"models.{name}")
    imported = params.entry(name).weights is not None
    return imported or model_store.parameters(architectures.outline(architecture)) > 0


def wanted(params: Params, name: str) -> str:
    """auto, cpu or cuda, for devices.claim, without initialising CUDA.

    Methods without weights run on the CPU, one image per core.
    """
    return params.training(name).device if has_weights(params, name) else "cpu"


def device(params: Params, name: str) -> torch.device:
    """Device of the model. UserError if cuda is set but not available."""
    return devices.choose(wanted(params, name))
