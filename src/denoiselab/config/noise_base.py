"""What noise models in params.yaml have in common, and the types of their levels."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from denoiselab.config.base import Block
from denoiselab.runtime.errors import UserError


def _ordered(value: Any) -> Any:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise UserError(f"the range must be [low, high], not {list(value)}")
    return value


Sigma255 = Annotated[float, Field(ge=0, le=255)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[int, Field(ge=2, le=16)]
Quality = Annotated[int, Field(ge=1, le=100)]
Blur = Annotated[float, Field(ge=0, le=4)]
Ordered = AfterValidator(_ordered)


class Spec(Block):
    """Keys of every noise model."""

    LEVELS: ClassVar[tuple[str, ...]] = ()  # fields that may be a range

    clip: Literal[True, False, "half"]
    quantise: bool

    def ranges(self) -> list[str]:
        """The levels given as [low, high], drawn for each image (blind denoising)."""
        return [name for name in self.LEVELS if isinstance(getattr(self, name), tuple)]


class EightBit(Spec):
    """Noise of 8-bit files, such as compression."""

    @model_validator(mode="after")
    def _eight_bit(self) -> EightBit:
        if not (self.clip is True and self.quantise):
            raise UserError("clip and quantise must be true: this is noise of 8-bit images")
        return self


class Clipping(Spec):
    """Noise that is always clipped."""

    @model_validator(mode="after")
    def _clipped(self) -> Clipping:
        if self.clip is not True:
            raise UserError("clip must be true: albumentations clips to [0, 1]")
        return self
