"""Noise by name: the test conditions of conf/noise/, and kinds of noise with one level."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiselab.config.base import check, parse
from denoiselab.config.noise import (
    Downscale,
    Gaussian,
    Iso,
    Jpeg,
    Multiplicative,
    Noise,
    NoiseSpec,
    Poisson,
    PoissonGaussian,
    SaltPepper,
    Spec,
    Speckle,
    Uniform,
    Webp,
    lacks_clean,
    needs_pairs,
)
from denoiselab.runtime.errors import UserError

PROJECT = Path(__file__).resolve().parents[3]
FOLDER = Path("conf/noise")
READ_NOISE = 3.0  # electrons, of a camera


@dataclass(frozen=True)
class Kind:
    """A kind of noise that one number sets."""

    spec: type[Spec]
    level: str  # what the number is, with its unit
    usual: float
    keys: Callable[[float], dict[str, Any]]  # those of the spec
    clip: bool = False
    quantise: bool = False


KINDS: dict[str, Kind] = {
    "gaussian": Kind(Gaussian, "standard deviation, of 255", 25, lambda n: {"sigma_255": n, "per_channel": True}),
    "poisson": Kind(Poisson, "photons at white: the fewer, the noisier", 30, lambda n: {"photons": n}),
    "poisson_gaussian": Kind(
        PoissonGaussian,
        "a camera's electrons per 8-bit level: the fewer, the noisier",
        0.5,
        lambda n: {"gain": n, "read_noise": READ_NOISE},
    ),
    "speckle": Kind(Speckle, "standard deviation, as a share of the value", 0.2, lambda n: {"sigma": n}),
    "salt_pepper": Kind(
        SaltPepper,
        "share of the pixels that become black or white",
        0.1,
        lambda n: {"amount": n, "salt": 0.5, "per_channel": False},
    ),
    "uniform": Kind(Uniform, "greatest error, of 255", 40, lambda n: {"width_255": n}),
    "jpeg": Kind(Jpeg, "quality, 1 to 100", 20, lambda n: {"quality": n}, clip=True, quantise=True),
    "webp": Kind(Webp, "quality, 1 to 100", 20, lambda n: {"quality": n}, clip=True, quantise=True),
    "iso": Kind(
        Iso,
        "strength, 0.1 to 0.5 as a rule; colour pictures only",
        0.3,
        lambda n: {"intensity": (n, n), "color_shift": (0.05, 0.05)},
        clip=True,
    ),
    "multiplicative": Kind(
        Multiplicative,
        "every value is multiplied by up to 1 more or less this",
        0.2,
        lambda n: {"factor": (1 - n, 1 + n), "per_channel": True, "per_pixel": True},
        clip=True,
    ),
    "downscale": Kind(
        Downscale,
        "2 to 16: reduced by this factor and enlarged again",
        2,
        lambda n: {"factor": n, "method": "bicubic"},
        clip=True,
    ),
}


def of_kind(kind: str, level: float | None = None) -> NoiseSpec:
    """A kind of KINDS at a level, None: its usual one. ValueError names an unknown kind, or what the level may be."""
    if kind not in KINDS:
        raise UserError(f"noise kind {kind!r} is unknown; there: {', '.join(KINDS)}")
    chosen = KINDS[kind]
    number = chosen.usual if level is None else level
    block = {"kind": kind, "clip": chosen.clip, "quantise": chosen.quantise, **chosen.keys(number)}
    return check(chosen.spec, block, where=f"noise {kind} of {number:g}: ")  # type: ignore[return-value]


def conditions(root: Path = Path()) -> dict[str, NoiseSpec]:
    """The test conditions of conf/noise/ that can be drawn, so none that images bring along, by name: that of the file,
    or FILE/CONDITION where it has several. Those of the project in `root`, else of the one that this package is in.

    ValueError names a file that is damaged, or says that there is no project.
    """
    folder = next((base / FOLDER for base in (root, PROJECT) if (base / FOLDER).is_dir()), None)
    if folder is None:
        raise UserError(f"{FOLDER}: not found; named noise is part of a clone of the project, --kind needs none")
    named: dict[str, NoiseSpec] = {}
    for path in sorted(folder.glob("*.yaml")):
        tests = _read(path).test
        for test, spec in tests.items():
            if not (needs_pairs(spec) or lacks_clean(spec)):
                named[path.stem if len(tests) == 1 else f"{path.stem}/{test}"] = spec
    return named


def condition(name: str, root: Path = Path()) -> NoiseSpec:
    """One of `conditions`. ValueError says what there is."""
    there = conditions(root)
    if name not in there:
        raise UserError(f"noise {name!r} is unknown; there: {', '.join(there)}")
    return there[name]


def _read(path: Path) -> Noise:
    return check(Noise, parse(path), where=f"{path}: ")
