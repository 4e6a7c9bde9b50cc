"""Evaluation protocols: named, hashed conventions. Scores of different protocols are not comparable."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from denoiselab.config import Protocol as Settings
from denoiselab.config.noise import AsIs, Chain, Gaussian, NoiseSpec, Real, Sometimes, parts
from denoiselab.imaging import depths

MEASURES = {  # with clean images; changing a text changes the hash
    "output": "clamped to [0, 1], times 255, rounded to 8 bits; the noisy input itself as it is",
    "psnr": "20 log10(255 / sqrt(MSE)), all pixels and channels, no border cut, mean over images; identical: 100 dB",
    "ssim": "11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region, mean over channels",
    "image": "8 bits / 255, gray or RGB",
}

NO_REFERENCE = {  # without clean images; changing a text changes the hash
    "output": "as the model gave it; for the held-out pixels of the image less these",
    "held out": "of every 4x4 pixels the second of the second row, all channels, shown as the mean of its 4 neighbours",
    "score": "-10 log10 of the mean squared error at the held-out pixels of the noisy image, mean over images",
    "image": "8 bits / 255, gray or RGB",
}

# By depth, where it is not 8 bits: the end of the name, and what differs from the texts above
DEPTHS: dict[int | str, tuple[str, dict[str, str]]] = {
    16: (
        "-16bit",
        {
            "output": "clamped to [0, 1], times 65535, rounded to 16 bits; the noisy input itself as it is",
            "psnr": MEASURES["psnr"].replace("255", "65535"),
            "image": "16 bits / 65535, gray or RGB",
        },
    ),
    "float": (
        "-float",
        {
            "output": "clamped to [0, 1], not rounded; the noisy input itself as it is",
            "psnr": MEASURES["psnr"].replace("255", "1"),
            "image": "float, white is 1, gray or RGB",
        },
    ),
}


@dataclass(frozen=True)
class Protocol:
    name: str
    conventions: dict[str, str]

    @property
    def sha256(self) -> str:
        """First 12 hex digits of the SHA-256 of name and conventions."""
        text = json.dumps([self.name, self.conventions], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def of(spec: NoiseSpec, settings: Settings, dtype: DTypeLike = np.uint8) -> Protocol:
    """Protocol of a test condition of images of that type, independent of the noise level."""
    bits = next(bits for bits, known in depths.DTYPES.items() if known == dtype)
    ending, differing = DEPTHS.get(bits, ("", {}))
    if isinstance(spec, AsIs):
        measures = NO_REFERENCE | {key: differing[key] for key in ("image",) if key in differing}
        return Protocol(f"no-clean-images{ending}", measures | {"noise": "the images' own"})
    stored = _stored(spec, bits)
    if isinstance(spec, Real):
        name = "real-pairs"
    elif isinstance(spec, Gaussian) and spec.per_channel:
        name = f"awgn-{stored}"
    else:
        kinds = [str(part.model_dump()["kind"]) for part in parts(spec) if not isinstance(part, Chain | Sometimes)]
        name = f"{'+'.join(kinds).replace('_', '-')}-{stored}"
    seeding = "numpy.random.seed(0) before each image" if settings.legacy_seed else "by (seed, image, condition, draw)"
    conventions = {"noise": _described(spec, bits), "noisy": stored, "seeding": seeding}
    return Protocol(name + ending, MEASURES | differing | conventions)


def depth(name: str) -> int | str:
    """The depth of the images, 8, 16 or "float", from the name of a protocol."""
    return next((bits for bits, (ending, _) in DEPTHS.items() if name.endswith(ending)), 8)


def _stored(spec: NoiseSpec, bits: int | str) -> str:
    """Whether the noisy image is clipped and rounded; real noise is neither."""
    rounded = spec.quantise and bits != "float"
    clipped = spec.clip is True and not (isinstance(spec, Real) and bits == "float")
    return (f"clipped{bits}" if rounded else "clipped") if clipped else "quantised" if rounded else "unclipped"


def _described(spec: NoiseSpec, bits: int | str) -> str:
    """Description of the noise without its levels."""
    if isinstance(spec, Chain):
        return ", then ".join(_step(step, bits) for step in spec.steps)
    if isinstance(spec, Sometimes):
        return f"with probability {spec.p} {_step(spec.noise, bits)}"
    keys = spec.model_dump(exclude={"kind", "clip", "quantise", *spec.LEVELS}, exclude_none=True)
    settings = [f"{key.replace('_', ' ')} {value}" for key, value in keys.items()]
    return " ".join([spec.kind.replace("_", "-"), *([f"({', '.join(settings)})"] if settings else [])])


def _step(spec: NoiseSpec, bits: int | str) -> str:
    return f"{_described(spec, bits)} {_stored(spec, bits)}"
