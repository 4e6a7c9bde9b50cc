"""Evaluation protocols: named, hashed conventions. Scores of different protocols are not comparable."""

import hashlib
import json
from dataclasses import dataclass

from denoiselab.config import Protocol as Settings
from denoiselab.config.noise import AsIs, Chain, Gaussian, NoiseSpec, Real, Sometimes, parts

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

STORED = {  # by clip and quantise
    (False, False): "unclipped",
    (True, False): "clipped",
    (True, True): "clipped8",
    (False, True): "quantised",
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


def of(spec: NoiseSpec, settings: Settings) -> Protocol:
    """Protocol of a test condition, independent of the noise level."""
    if isinstance(spec, AsIs):
        return Protocol("no-clean-images", NO_REFERENCE | {"noise": "the images' own"})
    stored = STORED[spec.clip is True, spec.quantise]
    if isinstance(spec, Real):
        name = "real-pairs"
    elif isinstance(spec, Gaussian) and spec.per_channel:
        name = f"awgn-{stored}"
    else:
        kinds = [str(part.model_dump()["kind"]) for part in parts(spec) if not isinstance(part, Chain | Sometimes)]
        name = f"{'+'.join(kinds).replace('_', '-')}-{stored}"
    seeding = "numpy.random.seed(0) before each image" if settings.legacy_seed else "by (seed, image, condition, draw)"
    return Protocol(name, MEASURES | {"noise": _described(spec), "noisy": stored, "seeding": seeding})


def _described(spec: NoiseSpec) -> str:
    """Description of the noise without its levels."""
    if isinstance(spec, Chain):
        return ", then ".join(map(_step, spec.steps))
    if isinstance(spec, Sometimes):
        return f"with probability {spec.p} {_step(spec.noise)}"
    keys = spec.model_dump(exclude={"kind", "clip", "quantise", *spec.LEVELS})
    settings = [f"{key.replace('_', ' ')} {value}" for key, value in keys.items()]
    return " ".join([spec.kind.replace("_", "-"), *([f"({', '.join(settings)})"] if settings else [])])


def _step(spec: NoiseSpec) -> str:
    return f"{_described(spec)} {STORED[spec.clip is True, spec.quantise]}"
