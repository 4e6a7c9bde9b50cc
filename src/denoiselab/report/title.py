"""The report's title: test noise and test images in words."""

from collections.abc import Iterable, Sequence
from typing import Any

NOISES = {  # by kind
    "gaussian": "Gaussian noise",
    "poisson": "Poisson noise",
    "poisson_gaussian": "Poisson-Gaussian noise",
    "camera": "camera noise",
    "camera_jpeg": "the noise of camera JPEGs",
    "speckle": "speckle noise",
    "salt_pepper": "salt-and-pepper noise",
    "uniform": "uniform noise",
    "jpeg": "JPEG artefacts",
    "webp": "WebP artefacts",
    "iso": "ISO noise",
    "multiplicative": "multiplicative noise",
    "downscale": "downscaling",
    "real": "real noise",
    "as_is": "the images' own noise",
}
LEVELS = {"gaussian": ("sigma_255", "sigma"), "jpeg": ("quality", "quality"), "downscale": ("factor", "factor")}
IMAGES = {"embedded": "built-in photo", "folder": "photo from a folder", "pairs": "photo pair"}  # by test set


def title(specs: Sequence[dict[str, Any]], sizes: dict[str, int]) -> str:
    """Of the test conditions' noise specs, and the number of images by test set."""
    return f"Best denoiser for {_noise(specs)} on {_join(_images(*item) for item in sizes.items())}"


def _noise(specs: Sequence[dict[str, Any]]) -> str:
    kinds = list(dict.fromkeys(kind for spec in specs for kind in _kinds(spec)))
    names = _join(NOISES.get(kind, f"{kind} noise") for kind in kinds)
    key, word = LEVELS.get(kinds[0], ("", ""))
    levels = [spec.get(key) for spec in specs]
    if len(kinds) > 1 or not all(isinstance(level, int | float) for level in levels):
        return names
    return f"{names} ({word} {_join(f'{level:g}' for level in levels)})"


def _kinds(spec: dict[str, Any]) -> list[str]:
    if spec["kind"] == "chain":
        return [kind for step in spec["steps"] for kind in _kinds(step)]
    return _kinds(spec["noise"]) if spec["kind"] == "sometimes" else [spec["kind"]]


def _images(set_name: str, number: int) -> str:
    noun, _, place = IMAGES.get(set_name, f"{set_name} image").partition(" from ")
    return f"{number} {noun}{'s' if number != 1 else ''}{f' from {place}' if place else ''}"


def _join(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
