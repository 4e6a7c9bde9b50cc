"""Noise models in params.yaml: one block for each, selected by `kind`.

Images are in [0, 1]; each level states its unit. A level given as [low, high] is drawn uniformly for each image. The
noisy image is then clipped to [0, 1] if `clip`, and rounded to the depth of the data (8 or 16 bits; float data: not at
all) if `quantise`. `clip: half` does both to half of the images, at random: for training on floating-point images and
files alike.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from denoiselab.config.base import Block
from denoiselab.config.camera_noise import Camera, CameraJpeg, by_camera
from denoiselab.config.noise_base import (
    Clipping,
    EightBit,
    Factor,
    NonNegative,
    Ordered,
    Positive,
    Quality,
    Share,
    Sigma255,
    Spec,
)
from denoiselab.runtime.errors import UserError

STRENGTHS = {"sigma_255", "sigma", "amount", "width_255"}  # levels that must be above 0 in tests


class Gaussian(Spec):
    """noisy = clean + N(0, (sigma_255 / 255)^2)."""

    LEVELS = ("sigma_255",)

    kind: Literal["gaussian"]
    sigma_255: Annotated[Sigma255 | tuple[Sigma255, Sigma255], Ordered]
    per_channel: bool  # false: the same noise in all channels


class Poisson(Spec):
    """noisy = P(photons * clean) / photons: photons at white."""

    LEVELS = ("photons",)

    kind: Literal["poisson"]
    photons: Annotated[Positive | tuple[Positive, Positive], Ordered]


class PoissonGaussian(Spec):
    """Camera noise: noisy = (P(255 gain clean) + N(0, read_noise^2)) / (255 gain).

    `gain` is in electrons per 8-bit level, so white is 255 * gain electrons; `read_noise` in electrons.
    """

    LEVELS = ("gain", "read_noise")

    kind: Literal["poisson_gaussian"]
    gain: Annotated[Positive | tuple[Positive, Positive], Ordered]
    read_noise: Annotated[NonNegative | tuple[NonNegative, NonNegative], Ordered]


class Speckle(Spec):
    """noisy = clean + clean * N(0, sigma^2)."""

    LEVELS = ("sigma",)

    kind: Literal["speckle"]
    sigma: Annotated[NonNegative | tuple[NonNegative, NonNegative], Ordered]


class SaltPepper(Spec):
    """A fraction `amount` of the pixels is replaced: a fraction `salt` of these by 1, the others by 0."""

    LEVELS = ("amount",)

    kind: Literal["salt_pepper"]
    amount: Annotated[Share | tuple[Share, Share], Ordered]
    salt: Share
    per_channel: bool  # true: independently in each channel; false: whole pixels


class Uniform(Spec):
    """noisy = clean + U(-width_255 / 255, width_255 / 255)."""

    LEVELS = ("width_255",)

    kind: Literal["uniform"]
    width_255: Annotated[Sigma255 | tuple[Sigma255, Sigma255], Ordered]


class Jpeg(EightBit):
    """JPEG compression at this quality."""

    LEVELS = ("quality",)

    kind: Literal["jpeg"]
    quality: Annotated[Quality | tuple[Quality, Quality], Ordered]


class Webp(EightBit):
    """Lossy WebP compression at this quality."""

    LEVELS = ("quality",)

    kind: Literal["webp"]
    quality: Annotated[Quality | tuple[Quality, Quality], Ordered]


class Iso(Clipping):
    """albumentations.ISONoise: hue and luminance noise of high ISO settings; colour images only."""

    kind: Literal["iso"]
    color_shift: Annotated[tuple[Share, Share], Ordered]
    intensity: Annotated[tuple[NonNegative, NonNegative], Ordered]


class Multiplicative(Clipping):
    """albumentations.MultiplicativeNoise: noisy = clean U(low, high), per image, channel or pixel."""

    kind: Literal["multiplicative"]
    factor: Annotated[tuple[NonNegative, NonNegative], Ordered]
    per_channel: bool
    per_pixel: bool


class Downscale(Spec):
    """Downscaled by `factor` with `method`, then upscaled (bicubic): for super-resolution."""

    LEVELS = ("factor",)

    kind: Literal["downscale"]
    factor: Annotated[Factor | tuple[Factor, Factor], Ordered]  # integer; all in a range are equally likely
    method: Literal["area", "bicubic"]


class Real(EightBit):
    """The real noisy photograph of a noisy/clean pair; no noise is drawn."""

    kind: Literal["real"]


class AsIs(Spec):
    """The images are noisy themselves; no noise is drawn, and there are no clean images."""

    kind: Literal["as_is"]


class Sometimes(Spec):
    """Applies `noise` to each image with probability p."""

    kind: Literal["sometimes"]
    p: Share
    noise: NoiseSpec


class Chain(Spec):
    """Applies several noise models in turn."""

    kind: Literal["chain"]
    steps: list[NoiseSpec] = Field(min_length=1)


NoiseSpec = Annotated[
    Gaussian
    | Poisson
    | PoissonGaussian
    | Camera
    | CameraJpeg
    | Speckle
    | SaltPepper
    | Uniform
    | Jpeg
    | Webp
    | Iso
    | Multiplicative
    | Downscale
    | Real
    | AsIs
    | Sometimes
    | Chain,
    Field(discriminator="kind"),
]
Sometimes.model_rebuild()
Chain.model_rebuild()


def parts(spec: Spec) -> list[Spec]:
    """The noise model and all nested ones."""
    inner = spec.steps if isinstance(spec, Chain) else [spec.noise] if isinstance(spec, Sometimes) else []
    return [spec, *(part for step in inner for part in parts(step))]


def needs_pairs(spec: Spec) -> bool:
    """Whether it contains noise of real noisy/clean pairs."""
    return any(isinstance(part, Real) for part in parts(spec))


def lacks_clean(spec: Spec) -> bool:
    """Whether it is for images without clean counterparts."""
    return any(isinstance(part, AsIs) for part in parts(spec))


class Noise(Block):
    name: str
    camera: str | None = Field(default=None, exclude=True)  # of all camera noise in train and test that names none
    iso: Any = Field(default=None, exclude=True)
    train: NoiseSpec  # drawn at every training step
    test: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], NoiseSpec] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_one_camera(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or not tree.get("camera") or not isinstance(tree.get("test"), dict):
            return tree
        own = {"camera": tree["camera"], "iso": tree.get("iso")}
        test = {condition: by_camera(block, own) for condition, block in tree["test"].items()}
        first = next(iter(test.values()), None)
        if len(test) > 1 and all(block == first for block in test.values()):  # differed in what the camera replaces
            test = {"camera": first}
        return tree | {"train": by_camera(tree.get("train"), own), "test": test}

    @model_validator(mode="after")
    def _test_is_fixed(self) -> Noise:
        for condition, spec in self.test.items():
            if isinstance(spec, Sometimes):
                raise UserError(f"test.{condition}: sometimes is not allowed in tests, it leaves some images clean")
            for part in parts(spec):
                if part.clip == "half":
                    raise UserError(f"test.{condition}.clip must be true or false: half is for training")
                for name in part.ranges():
                    raise UserError(f"test.{condition}.{name} must be one level, not a range")
                for name in STRENGTHS & set(type(part).model_fields):
                    if getattr(part, name) == 0:
                        raise UserError(f"test.{condition}.{name} must be above 0: a clean image has infinite PSNR")
            named = re.fullmatch(r"(?:sigma|clipped)(\d+(?:\.\d+)?)", condition)
            level = getattr(spec, "sigma_255", None)
            if named and level is not None and level != float(named[1]):
                raise UserError(f"test.{condition}.sigma_255 is {level:g}, not as the name says: rename the condition")
        return self

    @model_validator(mode="after")
    def _real_comes_first(self) -> Noise:
        for spec in (self.train, *self.test.values()):
            for chain in (part for part in parts(spec) if isinstance(part, Chain)):
                if any(needs_pairs(step) for step in chain.steps[1:]):
                    raise UserError("real must be the first step of a chain: it replaces the image")
        return self

    @model_validator(mode="after")
    def _as_is_stands_alone(self) -> Noise:
        specs = [self.train, *self.test.values()]
        if any(map(lacks_clean, specs)) and not (len(specs) == 2 and all(isinstance(s, AsIs) for s in specs)):
            raise UserError("as_is must be the only noise, in train and in a single test condition")
        return self

    @property
    def has_clean(self) -> bool:
        """Whether there are clean images: false for as_is."""
        return not lacks_clean(self.train)

    @property
    def needs_pairs(self) -> bool:
        """Whether the data must have noisy/clean pairs."""
        return any(needs_pairs(spec) for spec in (self.train, *self.test.values()))
