"""Titles of the report and its parts: test noise and test images in words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from denoiselab.data.noisy_sets import Condition

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
SHORT = {  # of a condition with one level, by kind; others keep their name
    "gaussian": "sigma {sigma_255:g}",
    "poisson": "Poisson noise of {photons:g} photons",
    "speckle": "speckle noise of sigma {sigma:g}",
    "salt_pepper": "salt-and-pepper noise on {amount:.0%}",
    "uniform": "uniform noise of ±{width_255:g}",
    "jpeg": "JPEG quality {quality:g}",
    "webp": "WebP quality {quality:g}",
    "downscale": "reduced by {factor:g}",
    "real": "real noise",
    "as_is": "own noise",
}
IMAGES = {"embedded": "built-in photo", "folder": "photo from a folder", "pairs": "photo pair"}  # by test set
SETS = {  # in the field's spelling; other test sets keep their name
    "embedded": "Built-in photos",
    "folder": "Photos from a folder",
    "noisy_folder": "Noisy photos from a folder",
    "pairs": "Photo pairs",
    "AFHQ-val": "AFHQ",
    "BSDS500-val": "BSDS500",
    "cifar10_4k": "CIFAR-10",
    "polyu": "PolyU",
}


@dataclass(frozen=True)
class Titles:
    """Titles of the test sets and test conditions of a report."""

    conditions: dict[str, str]  # by name

    def of(self, set_name: str, condition: str) -> str:
        """Of one table: "Built-in photos, sigma 25"."""
        return f"{self.set(set_name)}, {self.conditions[condition]}"

    def places(self, keys: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Titles of conditions and, as "SET, CONDITION", of tables (set, condition)."""
        return self.conditions | {", ".join(key): self.of(*key) for key in keys}

    @staticmethod
    def set(name: str) -> str:
        return SETS.get(name, name)


def titles(conditions: Iterable[Condition]) -> Titles:
    """In words where the noise is of a known kind and the words are of one condition only, else by name."""
    words = {one.name: _short(one.spec) for one in conditions}
    number = Counter(words.values())
    return Titles({name: text if text and number[text] == 1 else name for name, text in words.items()})


def _short(spec: dict[str, Any]) -> str:
    """Kind and level; empty for kinds without a short description."""
    if spec["kind"] not in SHORT:
        return ""
    clipped = ", clipped" if spec["clip"] and spec["kind"] in ("gaussian", "poisson", "speckle", "uniform") else ""
    try:
        return SHORT[spec["kind"]].format(**spec).replace("%", " %") + clipped
    except TypeError:  # a range of levels
        return ""


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
    return f"{names} ({word} {_join(f'{level:g}' for level in dict.fromkeys(levels))})"


def _kinds(spec: dict[str, Any]) -> list[str]:
    if spec["kind"] == "chain":
        return [kind for step in spec["steps"] for kind in _kinds(step)]
    return _kinds(spec["noise"]) if spec["kind"] == "sometimes" else [spec["kind"]]


def _images(set_name: str, number: int) -> str:
    noun, _, place = IMAGES.get(set_name, f"{SETS.get(set_name, set_name)} image").partition(" from ")
    return f"{number} {noun}{'s' if number != 1 else ''}{f' from {place}' if place else ''}"


def _join(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
