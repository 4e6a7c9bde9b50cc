"""Where an entry of params.models computes: as the block `train` says, but without weights on the CPU alone."""

import torch

from denoiselab import architectures
from denoiselab.config import Params
from denoiselab.models import model_store
from denoiselab.runtime import devices


def has_weights(params: Params, name: str) -> bool:
    """Whether an entry is a net, to be trained or imported. ValueError where its block is wrong."""
    architecture = params.entry(name).architecture()
    architectures.check(architecture, where=f"models.{name}")
    return model_store.parameters(architectures.outline(architecture)) > 0


def wanted(params: Params, name: str) -> str:
    """auto, cpu or cuda: what devices.claim takes, before anything looks for CUDA.

    What has no weights gains nothing from a GPU, but from the CPU's cores, an image on each.
    """
    return params.training(name).device if has_weights(params, name) else "cpu"


def device(params: Params, name: str) -> torch.device:
    """ValueError where CUDA is asked for and missing."""
    return devices.choose(wanted(params, name))
