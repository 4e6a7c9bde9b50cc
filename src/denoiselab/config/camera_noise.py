"""Noise of cameras in params.yaml, by the public table of cameras or by its parameters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import model_validator

from denoiselab.config.noise_base import Blur, EightBit, NonNegative, Ordered, Positive, Quality, Spec
from denoiselab.runtime.errors import UserError


class OfCamera(Spec):
    """Sensor noise of `camera` at `iso`, by the public table of cameras (noise/cameras.py), or by the keys INSTEAD."""

    INSTEAD: ClassVar[tuple[str, ...]] = ()  # ignored if a camera is named

    camera: str | None = None
    iso: Annotated[Positive | tuple[Positive, Positive] | None, Ordered] = None  # a range: uniform logarithm

    @model_validator(mode="before")
    @classmethod
    def _camera_decides(cls, keys: dict[str, Any]) -> dict[str, Any]:
        return keys | dict.fromkeys(cls.INSTEAD if keys.get("camera") else ("iso",))

    @model_validator(mode="after")
    def _complete(self) -> OfCamera:
        if self.camera and self.iso is None:
            raise UserError(f"iso is missing: that of {self.camera}")
        if not self.camera and (missing := [key for key in self.INSTEAD if getattr(self, key) is None]):
            raise UserError(f"{' and '.join(missing)}, or camera and iso, must be set")
        return self


class Camera(OfCamera):
    """Sensor noise in linear light: noisy = f(x + N(0, a x + b)) with x = f^-1(clean), f: sRGB's transfer function.

    a and b of the camera's channels, or a = 1 / (255 gain) and b = (a read_noise)^2: `gain` in electrons per 1/255 of
    white, `read_noise` in electrons.
    """

    LEVELS = ("iso", "gain", "read_noise")
    INSTEAD = ("gain", "read_noise")

    kind: Literal["camera"]
    gain: Annotated[Positive | tuple[Positive, Positive] | None, Ordered] = None
    read_noise: Annotated[NonNegative | tuple[NonNegative, NonNegative] | None, Ordered] = None


class CameraJpeg(OfCamera, EightBit):
    """A camera's JPEG: sensor noise on a Bayer mosaic, demosaicking, processing, compression; see noise/camera_jpeg.py.

    N(0, shot x + read) for the raw signal x in [0, 1]; without a camera, log read ~ N(2.18 log shot + 1.20, 0.26^2).
    Colour images only.
    """

    LEVELS = ("iso", "shot", "sharpening", "luma_blur", "chroma_blur", "quality")
    INSTEAD = ("shot",)

    kind: Literal["camera_jpeg"]
    shot: Annotated[Positive | tuple[Positive, Positive] | None, Ordered] = None  # a range: uniform logarithm
    sharpening: Annotated[NonNegative | tuple[NonNegative, NonNegative], Ordered]  # amount of unsharp masking
    luma_blur: Annotated[Blur | tuple[Blur, Blur], Ordered]  # sigma of a Gaussian in pixels, of the noise
    chroma_blur: Annotated[Blur | tuple[Blur, Blur], Ordered]
    quality: Annotated[Quality | tuple[Quality, Quality], Ordered]


def by_camera(block: Any, own: dict[str, Any]) -> Any:
    """The block, and blocks inside it, with the keys `own` in place of what they replace."""
    if not isinstance(block, dict):
        return block
    for kind in (Camera, CameraJpeg):
        if block.get("kind") in get_args(kind.model_fields["kind"].annotation):
            given = {key: value for key, value in block.items() if key not in kind.INSTEAD and value is not None}
            return own | given
    inner = {"steps": [by_camera(step, own) for step in block["steps"]]} if isinstance(block.get("steps"), list) else {}
    return block | inner | ({"noise": by_camera(block["noise"], own)} if "noise" in block else {})
