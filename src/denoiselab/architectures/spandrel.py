"""Published networks of the library spandrel (MIT; an extra): SwinIR, SCUNet, Uformer, KBNet and others.

It finds the network and its settings from the tensors of the weights file, so the entry states only `channels` and the
file. https://github.com/chaiNNer-org/spandrel. spandrel_extra_arches, if installed, adds Restormer, MPRNet and others,
under licences of their own. Not trained here: the networks are run without gradients.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from denoiselab.architectures._layers import without_autocast
from denoiselab.config.base import Block, Channels
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

INSTALL = "pip install 'denoiselab[spandrel]'"


class Config(Block):
    channels: Channels


class Spandrel(nn.Module):
    from_weights = True
    reach = None  # most of the networks attend to windows that shift, or to the whole image

    def __init__(self, config: Config):
        super().__init__()
        self.channels = config.channels
        self.net: nn.Module | None = None
        self._descriptor: Any = None

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Build the network that has these tensors. UserError if spandrel knows none, or not for these channels."""
        found = describe({name.removeprefix("net."): tensor for name, tensor in state_dict.items()})
        name, channels = found.architecture.name, (found.input_channels, found.output_channels)
        if found.scale != 1 or not callable(found):
            raise UserError(f"arch spandrel: {name} with these weights is no denoiser: its scale is {found.scale}")
        if channels != (self.channels, self.channels):
            raise UserError(f"arch spandrel: {name} has {channels[0]} channels; the settings say {self.channels}")
        self._descriptor, self.net = found, found.model
        return nn.modules.module._IncompatibleKeys([], [])

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """spandrel pads to the size that the network needs, and clamps to [0, 1]."""
        if self._descriptor is None:
            raise UserError("arch spandrel: no network without weights; add weights and sha256 to the entry")
        with without_autocast(noisy.device.type):  # float32, as published
            return torch.cat([self._descriptor(image) for image in noisy.split(1)])  # some take one image at a time


def describe(tensors: dict[str, torch.Tensor]) -> Any:
    """spandrel's description of the network with these tensors: architecture, channels, scale, size requirements.

    UserError if spandrel is not installed, or if it does not know the network.
    """
    try:
        import spandrel
    except ImportError as error:
        raise UserError(f"arch spandrel needs packages: {INSTALL} ({one_line(error)})") from None
    if find_spec("spandrel_extra_arches"):
        import spandrel_extra_arches

        spandrel_extra_arches.install(ignore_duplicates=True)
    try:
        return spandrel.ModelLoader(device="cpu").load_from_state_dict(tensors)
    except Exception as error:  # noqa: BLE001  (an unknown network, or whatever its code makes of wrong tensors)
        raise UserError(f"arch spandrel: unknown network: {one_line(error)}") from None


def build(config: Config) -> nn.Module:
    return Spandrel(config)
