"""How a network is trained: the block `train`, any key of which a model's own block may override."""

import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from denoiselab.config.base import Address, Block
from denoiselab.runtime.errors import UserError

LOSS_NAMES = Literal["mse", "l1", "charbonnier", "ssim", "perceptual"]
PIXELWISE = ("mse", "l1", "charbonnier")  # losses of the difference alone, pixel by pixel
INITS = Literal["none", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"]


class Schedule(Block):
    """The learning rate after the warm-up, by `kind`; keys of other kinds are not looked at.

    cosine: half a cosine from lr down to `final` lr at the end (Loshchilov and Hutter, ICLR 2017). constant.
    exponential: lr gamma^epoch. step: times gamma every `every` epochs. plateau: times gamma whenever `patience`
    validations in a row were no better than the best before.
    """

    kind: Literal["cosine", "constant", "exponential", "step", "plateau"]
    final: float = Field(ge=0, le=1)  # share of lr
    gamma: float = Field(gt=0, le=1)
    every: int = Field(ge=1)  # epochs
    patience: int = Field(ge=1)  # validations


class Freeze(Block):
    """Fine-tuning: layers (names of modules) that start frozen, and thaw from the last to the first."""

    layers: list[str] = Field(min_length=1)
    patience: int | None = Field(ge=1)  # validations without a better one until the next thaws; null: never


class Vgg16(Block):
    """VGG16's features for the perceptual loss, from torchvision's weights file."""

    kind: Literal["vgg16"]
    weights: Address  # a file or address
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class OwnClassifier(Block):
    """The features of a classifier of this experiment, which the model's block names in `needs:`."""

    kind: Literal["classifier"]
    model: str = Field(pattern=r"^models/")


Features = Annotated[Vgg16 | OwnClassifier, Field(discriminator="kind")]


def _weighted(value: Any) -> Any:
    """`l1` is {l1: 1.0}."""
    return {value: 1.0} if isinstance(value, str) else value


Loss = Annotated[
    dict[LOSS_NAMES, Annotated[float, Field(gt=0)]], Field(min_length=1), BeforeValidator(_weighted)
]  # a name, or names with weights


def _torchrun(launcher: str) -> str:
    if shlex.split(launcher)[:1] != ["torchrun"]:
        raise UserError("must be torchrun and its arguments, such as `torchrun --nproc-per-node=2`")
    return launcher


class Train(Block):
    device: Literal["auto", "cpu", "cuda"]
    launcher: Annotated[str, AfterValidator(_torchrun)] | None  # torchrun with arguments; null: one process
    precision: Literal["float32", "bfloat16"]  # bfloat16: autocast
    compile: bool  # the training's forward and backward, by torch.compile
    optimizer: Literal["adam", "adamw"]
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)  # linear, before the schedule
    schedule: Schedule
    grad_clip: float | None = Field(gt=0)  # L2 norm over all parameters
    ema: float | None = Field(
        gt=0, lt=1
    )  # decay a step of the averaged weights that are validated and kept; null: none
    target: Literal["clean", "self"]  # self: neither training nor the choice of weights looks at a clean image
    loss: Loss
    perceptual: Features | None  # the features that a perceptual loss compares
    steps: int | None = Field(ge=1)
    epochs: int | None = Field(ge=1)  # in place of steps
    batch: int = Field(ge=1)  # patches, over all processes
    crop: int | None = Field(ge=8)  # pixels; smaller patches are used whole
    validate_every: int | None = Field(ge=1)  # steps; null: every epoch
    val_patches: int | None = Field(ge=1)
    patience: int | None = Field(ge=1)  # validations without a better one until training stops; null: never
    freeze: Freeze | None

    @model_validator(mode="after")
    def _fits_together(self) -> "Train":
        if (self.steps is None) == (self.epochs is None):
            raise UserError("give steps or epochs, and null for the other")
        if self.target == "self" and (whole := [name for name in self.loss if name not in PIXELWISE]):
            allowed = ", ".join(PIXELWISE)
            raise UserError(f"loss: {', '.join(whole)} has no use for a noisy target; with target self: {allowed}")
        if "perceptual" in self.loss and self.perceptual is None:
            raise UserError("a perceptual loss needs `perceptual`: {kind: vgg16, ...} or {kind: classifier, ...}")
        return self
