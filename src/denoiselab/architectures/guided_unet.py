"""U-Net guided by the image's class: scores of a frozen classifier become a feature map at the first decoder block.

Scores (classes) -> Linear -> (features, side, side), concatenated with [up, skip]; from a public comparison on STL-10.
Three controls have the same size: scores in another class order ("shuffled"), zeros ("zeroed"), and the true label
("oracle"). A module with `adopts = True` needs a trained classifier before use: adopt(classifier). One with
`label_aware = True` takes the labels (N,) int64 as second argument; None: zeros.
"""

from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import nn

from denoiselab.architectures import _unet
from denoiselab.architectures._layers import on_multiple
from denoiselab.runtime.errors import UserError


class Config(_unet.Config):
    widths: Annotated[list[PositiveInt], Field(min_length=2)]  # features at each level, from full resolution down
    classes: int = Field(ge=2)
    guide_features: int = Field(default=32, ge=1)  # of the guide map
    guide_side: int = Field(default=12, ge=1)  # side of the guide map, before resizing to the skip's size
    guidance: Literal["classifier", "shuffled", "zeroed", "oracle"]


class GuidedUNet(_unet.UNet):
    def __init__(self, config: Config):
        super().__init__(config, config.guide_features)
        self.classes, self.guidance = config.classes, config.guidance
        self.adopts = config.guidance in ("classifier", "shuffled")
        self.label_aware = config.guidance == "oracle"
        self.map_shape = (config.guide_features, config.guide_side, config.guide_side)
        self.to_map = nn.Linear(config.classes, config.guide_features * config.guide_side**2)
        self.classifier: nn.Module | None = None
        self.reach = None

    def adopt(self, classifier: nn.Module) -> None:
        """Include the classifier, with frozen parameters and BatchNorm statistics. UserError if it does not fit."""
        classes = getattr(classifier, "classes", None)
        if not self.adopts or getattr(classifier, "task", None) != "classify" or classes != self.classes:
            raise UserError(
                f"guidance {self.guidance!r} with {self.classes} classes cannot adopt a {type(classifier).__name__} "
                f"of {classes}: classifier and shuffled take a classifier of as many classes, zeroed and oracle none"
            )
        self.classifier = classifier.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "GuidedUNet":
        super().train(mode)
        if self.classifier is not None:
            self.classifier.eval()
        return self

    def forward(self, noisy: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        guide = self.to_map(self._scores(noisy, label)).unflatten(1, self.map_shape)
        return on_multiple(partial(self.restored, guide=guide), noisy, self.multiple)

    def _scores(self, noisy: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """Guidance scores (N, classes)."""
        if self.adopts:
            if self.classifier is None:
                raise UserError(
                    f"guidance {self.guidance!r} needs a trained classifier: call adopt(classifier) before the model"
                )
            with torch.no_grad():
                scores = self.classifier(noisy)
                return _rolled(scores, noisy) if self.guidance == "shuffled" else scores
        if self.label_aware and label is not None:
            return F.one_hot(label, self.classes).to(noisy)
        return noisy.new_zeros(noisy.shape[0], self.classes)


def _rolled(scores: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    """Roll each image's scores along the classes by a hash of its pixels, as integers: independent of rounding."""
    offset = (noisy * 2**16).round().long().sum((1, 2, 3))
    order = torch.arange(scores.shape[1], device=scores.device) - offset[:, None]
    return scores.gather(1, order % scores.shape[1])


def build(config: Config) -> nn.Module:
    return GuidedUNet(config)
