"""Named noise: the test conditions in conf/noise/, and noise models with a single level."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiselab.config.base import check, parse
from denoiselab.config.camera_noise import Camera, CameraJpeg, OfCamera
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
    Speckle,
    Uniform,
    Webp,
    lacks_clean,
    needs_pairs,
)
from denoiselab.config.noise_base import Spec
from denoiselab.runtime.errors import UserError

PROJECT = Path(__file__).resolve().parents[3]
FOLDER = Path("conf/noise")
READ_NOISE = 3.0  # of a camera, in electrons


@dataclass(frozen=True)
class Kind:
    """A noise model with one free parameter, its level."""

    spec: type[Spec]
    level: str  # meaning and unit of the level
    usual: float  # default level
    keys: Callable[[float], dict[str, Any]]  # keys of the spec at a level
    clip: bool = False
    quantise: bool = False


KINDS: dict[str, Kind] = {
    "gaussian": Kind(Gaussian, "sigma in 8-bit units", 25, lambda n: {"sigma_255": n, "per_channel": True}),
    "poisson": Kind(Poisson, "photons at white; fewer: more noise", 30, lambda n: {"photons": n}),
    "poisson_gaussian": Kind(
        PoissonGaussian,
        "camera gain, electrons per 8-bit level; fewer: more noise",
        0.5,
        lambda n: {"gain": n, "read_noise": READ_NOISE},
    ),
    "camera": Kind(
        Camera,
        "the same in linear light",
        0.5,
        lambda n: {"gain": n, "read_noise": READ_NOISE},
    ),
    "camera_jpeg": Kind(
        CameraJpeg,
        "shot noise of the raw signal, usually 0.0001 to 0.01; colour images only",
        0.002,
        lambda n: {"shot": n, "sharpening": 0.5, "luma_blur": 0.6, "chroma_blur": 1.5, "quality": 90},
        clip=True,
        quantise=True,
    ),
    "speckle": Kind(Speckle, "sigma relative to the pixel value", 0.2, lambda n: {"sigma": n}),
    "salt_pepper": Kind(
        SaltPepper,
        "fraction of the pixels that become black or white",
        0.1,
        lambda n: {"amount": n, "salt": 0.5, "per_channel": False},
    ),
    "uniform": Kind(Uniform, "largest error in 8-bit units", 40, lambda n: {"width_255": n}),
    "jpeg": Kind(Jpeg, "quality, 1 to 100", 20, lambda n: {"quality": n}, clip=True, quantise=True),
    "webp": Kind(Webp, "quality, 1 to 100", 20, lambda n: {"quality": n}, clip=True, quantise=True),
    "iso": Kind(
        Iso,
        "intensity, usually 0.1 to 0.5; colour images only",
        0.3,
        lambda n: {"intensity": (n, n), "color_shift": (0.05, 0.05)},
        clip=True,
    ),
    "multiplicative": Kind(
        Multiplicative,
        "largest relative change of a value",
        0.2,
        lambda n: {"factor": (1 - n, 1 + n), "per_channel": True, "per_pixel": True},
        clip=True,
    ),
    "downscale": Kind(
        Downscale,
        "downscaling factor, 2 to 16, followed by upscaling",
        2,
        lambda n: {"factor": n, "method": "bicubic"},
        clip=True,
    ),
}


def of_kind(kind: str, level: float | None = None) -> NoiseSpec:
    """A kind of KINDS at a level; None: its usual one. UserError for an unknown kind or a level out of range."""
    if kind not in KINDS:
        raise UserError(f"noise kind {kind!r} is unknown; choose from: {', '.join(KINDS)}")
    chosen = KINDS[kind]
    number = chosen.usual if level is None else level
    block = {"kind": kind, "clip": chosen.clip, "quantise": chosen.quantise, **chosen.keys(number)}
    return check(chosen.spec, block, where=f"noise {kind} of {number:g}: ")  # type: ignore[return-value]


def of_camera(kind: str, camera: str, iso: float) -> NoiseSpec:
    """Noise of a camera at an ISO, of the kind camera or camera_jpeg. UserError for another kind or ISO below 0."""
    chosen = KINDS.get(kind)
    if chosen is None or not issubclass(chosen.spec, OfCamera):
        raise UserError(f"noise kind {kind!r} is not of a camera; choose from: camera, camera_jpeg")
    block = {"kind": kind, "clip": chosen.clip, "quantise": chosen.quantise, **chosen.keys(chosen.usual)}
    return check(chosen.spec, block | {"camera": camera, "iso": iso}, where=f"noise {kind}: ")  # type: ignore[return-value]


def conditions(root: Path = Path()) -> dict[str, NoiseSpec]:
    """Synthetic test conditions in conf/noise/ by name: that of the file, or FILE/CONDITION if it has several.

    Searches the project in `root`, else the one that contains this package; without a project there are none.
    UserError for an invalid file.
    """
    folder = next((base / FOLDER for base in (root, PROJECT) if (base / FOLDER).is_dir()), None)
    named: dict[str, NoiseSpec] = {}
    for path in sorted(folder.glob("*.yaml")) if folder else []:
        tests = _read(path).test
        for test, spec in tests.items():
            if not (needs_pairs(spec) or lacks_clean(spec)):
                named[path.stem if len(tests) == 1 else f"{path.stem}/{test}"] = spec
    return named


def condition(name: str, root: Path = Path()) -> NoiseSpec:
    """One of `conditions`. UserError listing them if the name is unknown."""
    named = conditions(root)
    if not named:
        raise UserError(f"{FOLDER}: not found; named noise needs a clone of the project, --kind does not")
    if name not in named:
        raise UserError(f"noise {name!r} is unknown; choose from: {', '.join(named)}")
    return named[name]


def _read(path: Path) -> Noise:
    return check(Noise, parse(path), where=f"{path}: ")
