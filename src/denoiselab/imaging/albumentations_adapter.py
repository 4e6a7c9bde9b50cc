"""The only module that imports albumentations. Every call passes a seed, so results do not depend on call order."""

import os
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no request for the latest version

import albumentations
import numpy as np

from denoiselab.config import Transform
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

Pair = tuple[np.ndarray, np.ndarray | None]


class Pipeline:
    """A function (clean, noisy or None, seed) -> (clean, noisy or None) on (H, W, C) uint8.

    Both get the same flips, rotations and crops. UserError names a transform or argument unknown to albumentations, or
    the reason why the transforms cannot be applied.
    """

    def __init__(self, transforms: tuple[Transform, ...]):
        self.compose = albumentations.Compose(
            [_transform(t) for t in transforms], additional_targets={"noisy": "image"}
        )

    def __call__(self, clean: np.ndarray, noisy: np.ndarray | None, seed: int) -> Pair:
        self.compose.set_random_seed(seed % 2**32)
        images = {"image": clean} | ({} if noisy is None else {"noisy": noisy})
        try:
            results = self.compose(**images)
        except Exception as error:  # noqa: BLE001  (transforms raise anything)
            reason = one_line(error)
            raise UserError(f"augment.transforms: {reason}") from None
        for name in images:
            _check_output(results[name], clean.shape[2])
        return results["image"], results.get("noisy")


def iso(image: np.ndarray, seed: int, color_shift: tuple[float, float], intensity: tuple[float, float]) -> np.ndarray:
    """ISONoise on (H, W, 3) float32 in [0, 1]."""
    return _once("ISONoise", color_shift=color_shift, intensity=intensity)(image, seed)


def multiplicative(
    image: np.ndarray, seed: int, factor: tuple[float, float], per_channel: bool, per_pixel: bool
) -> np.ndarray:
    """MultiplicativeNoise on (H, W, C) float32 in [0, 1]."""
    transform = _once("MultiplicativeNoise", multiplier=factor, per_channel=per_channel, elementwise=per_pixel)
    return transform(image, seed)


@cache
def _once(name: str, **arguments: Any) -> Callable[[np.ndarray, int], np.ndarray]:
    """One transform, always applied, by one thread at a time, as it stores the seed."""
    lock = Lock()
    compose = albumentations.Compose([getattr(albumentations, name)(p=1, **arguments)])

    def apply(image: np.ndarray, seed: int) -> np.ndarray:
        with lock:
            compose.set_random_seed(seed % 2**32)
            return np.asarray(compose(image=image)["image"])

    return apply


def _transform(spec: Transform) -> albumentations.BasicTransform:
    kind = getattr(albumentations, spec.name, None)
    if not (isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)):
        raise UserError(f"augment.transforms: albumentations has no transform {spec.name!r}")
    schema: Any = getattr(kind, "InitSchema")  # noqa: B009  (albumentations' attribute, unknown to mypy)
    allowed = set(schema.model_fields) | {"p"}
    arguments = dict(spec.model_extra or {})
    if unknown := arguments.keys() - allowed:
        raise UserError(
            f"augment.transforms: {spec.name} has no argument {', '.join(sorted(unknown))}; "
            f"allowed: {', '.join(sorted(allowed - {'strict'}))}"
        )
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()})
    except ValueError as error:
        raise UserError(f"augment.transforms: {spec.name}: {one_line(error)}") from None


def _check_output(result: Any, channels: int) -> None:
    kind, shape = getattr(result, "dtype", type(result)), tuple(np.shape(result))
    if not isinstance(result, np.ndarray) or kind != np.uint8 or len(shape) != 3 or shape[2] != channels:
        raise UserError(f"augment.transforms: must give (H, W, {channels}) uint8 images, not {kind} {shape}")
