"""Training settings (block `train`); a model's block may override any key."""

import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from denoiselab.config.base import Address, Block
from denoiselab.runtime.errors import UserError

LOSS_NAMES = Literal["mse", "l1", "charbonnier", "ssim", "perceptual"]
PIXELWISE = ("mse", "l1", "charbonnier")  # pixelwise losses
INITS = Literal["none", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"]


class Schedule(Block):
    """Learning rate schedule after the warm-up; keys of other kinds are ignored.

    cosine: cosine annealing from lr to `final` lr (Loshchilov and Hutter, ICLR 2017). constant. exponential: lr
    gamma^epoch. step: times gamma every `every` epochs. plateau: times gamma after `patience` validations without
    improvement.
    """

    kind: Literal["cosine", "constant", "exponential", "step", "plateau"]
    final: float = Field(ge=0, le=1)  # fraction of lr
    gamma: float = Field(gt=0, le=1)
    every: int = Field(ge=1)  # epochs
    patience: int = Field(ge=1)  # validations


class Freeze(Block):
    """Fine-tuning: layers (module names) that start frozen and are unfrozen one by one, the last first."""

    layers: list[str] = Field(min_length=1)
    patience: int | None = Field(ge=1)  # validations without improvement before the next; null: never


class Vgg16(Block):
    """VGG16 features for the perceptual loss, with torchvision's weights."""

    kind: Literal["vgg16"]
    weights: Address
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class OwnClassifier(Block):
    """Features of a classifier trained in this experiment, which the model must name in `needs`."""

    kind: Literal["classifier"]
    model: str = Field(pattern=r"^models/")


Features = Annotated[Vgg16 | OwnClassifier, Field(discriminator="kind")]


def _weighted(value: Any) -> Any:
    """A single name has weight 1: `l1` is {l1: 1.0}."""
    return {value: 1.0} if isinstance(value, str) else value


Loss = Annotated[
    dict[LOSS_NAMES, Annotated[float, Field(gt=0)]], Field(min_length=1), BeforeValidator(_weighted)
]  # name, or weights by name


def _torchrun(launcher: str) -> str:
    if shlex.split(launcher)[:1] != ["torchrun"]:
        raise UserError("must be torchrun with its arguments, such as `torchrun --nproc-per-node=2`")
    return launcher


class Train(Block):
    device: Literal["auto", "cpu", "cuda"]
    launcher: Annotated[str, AfterValidator(_torchrun)] | None  # torchrun with arguments; null: one process
    precision: Literal["auto", "float32", "bfloat16"]  # bfloat16: autocast; auto: where the device computes in it
    compile: bool  # torch.compile the forward and backward pass of training
    optimizer: Literal["adam", "adamw"]
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    weight_decay: float = Field(ge=0)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)  # linear increase to lr
    schedule: Schedule
    grad_clip: float | None = Field(gt=0)  # maximum L2 norm over all parameters; null: none
    ema: float | None = Field(gt=0, lt=1)  # decay per step of averaged weights (validated and saved); null: none
    target: Literal["clean", "self"]  # self: self-supervised, no clean image is used for training or model selection
    loss: Loss
    perceptual: Features | None  # features for the perceptual loss
    steps: int | None = Field(ge=1)
    epochs: int | None = Field(ge=1)  # instead of steps
    batch: int = Field(ge=1)  # patches per step, over all processes
    crop: int | None = Field(ge=8)  # side of random crops in pixels; smaller patches, or null: whole patches
    validate_every: int | None = Field(ge=1)  # steps; null: every epoch
    val_patches: int | None = Field(ge=1)  # null: all
    patience: int | None = Field(ge=1)  # early stopping: validations without improvement; null: never
    freeze: Freeze | None

    @model_validator(mode="after")
    def _fits_together(self) -> "Train":
        if (self.steps is None) == (self.epochs is None):
            raise UserError("give steps or epochs, and null for the other")
        if self.target == "self" and (unsuitable := [name for name in self.loss if name not in PIXELWISE]):
            allowed = ", ".join(PIXELWISE)
            raise UserError(f"loss: {', '.join(unsuitable)} does not work with target self; use {allowed}")
        if "perceptual" in self.loss and self.perceptual is None:
            raise UserError("a perceptual loss needs `perceptual`: {kind: vgg16, ...} or {kind: classifier, ...}")
        return self
