"""Alarms: outputs that are broken, models that do harm, and results that too few images carry.

`Watch` looks at the float outputs of one model, before they are clamped and rounded; report.raised at the means.
"""

import math
from dataclasses import dataclass, field
from statistics import fmean, median

import cv2
import numpy as np

from denoiselab.config import Alarms
from denoiselab.metrics import image_quality

CONSTANT_255 = 1.0  # an output with a smaller deviation in every channel is constant ...
VARIED_255 = 4.0  # ... where the clean image has at least this one
UNCHANGED = 0.1  # RMS of what the model changed, as a share of the noise's
FAR = (-1.0, 2.0)  # no sound output has more than a thousandth of its values outside,
SHIFTED = -0.25  # or a hundredth of them below, unless black is -1
FARTHEST = 10.0  # or a single one as far from 0
SCALES = {"0 to 255": (1 / 255, 0.0), "-1 to 1": (0.5, 0.5)}  # factor and offset that bring them to 0 to 1
SCALE_DB = 3.0  # what bringing the values to 0 to 1 must gain
SWAPPED_DB = 0.5  # what the reversed order of the channels must gain
# Error of the estimated noise level, measured on the 16 embedded photographs at sigma 5 to 102: -0.3 to +3.7 of 255,
# +8 on a meadow (texture counts as noise); down to -32 % where the noise was clipped.
BELOW, BELOW_CLIPPED = 0.1, 0.35  # shares of the lowest level
ABOVE, ABOVE_255 = 0.1, 5.0  # share of the highest level, and what texture adds

HEADLINES = {
    "not_finite": "🔴 Output not finite",
    "constant": "🔴 Output constant",
    "unchanged": "🔴 Output nearly equal to its input",
    "range": "🔴 Output out of range",
    "channels": "🔴 Channels swapped",
    "worse": "🔴 Worse than its input",
    "gain": "🔴 Gain below the floor",
    "some": "🟡 Little or no gain on some images",
    "level": "🟡 Noise outside the levels of the training",
    "correlated": "🟡 Noise of neighbouring pixels correlated",
    "interval": "🟡 Interval too wide",
    "few": "🟡 Too few images",
}  # by kind, in the order of the report


@dataclass(frozen=True)
class Alarm:
    """`images` (`of` how many) it is about; `worst` is the id of the one where it is worst, if there is such a one."""

    kind: str
    condition: str
    images: int
    of: int
    worst: str
    text: str


Finding = tuple[float, str]  # how bad, and in words


def examine(clean: np.ndarray, noisy: np.ndarray, restored: np.ndarray) -> dict[str, Finding]:
    """What is wrong with an output, by kind: (H, W, C) uint8, float32, and float32 as the model gave it."""
    if not np.isfinite(restored).all():
        broken = float(np.mean(~np.isfinite(restored)))
        return {"not_finite": (broken, f"{100 * broken:.3g} % of the values are NaN or infinite")}
    truth = clean / np.float32(255)
    deviation, wanted = (255 * float(cv2.meanStdDev(x)[1].max()) for x in (restored, truth))
    if deviation < CONSTANT_255 and wanted >= VARIED_255:
        return {"constant": (-deviation, f"standard deviation {deviation:.2f} of 255, of the clean image {wanted:.1f}")}
    found = {"range": _range(truth, restored), "unchanged": _unchanged(truth, noisy, restored)}
    if clean.shape[2] == 3:
        found["channels"] = _channels(truth, restored)
    return {kind: finding for kind, finding in found.items() if finding}


def _range(truth: np.ndarray, restored: np.ndarray) -> Finding | None:
    low, high = float(restored.min()), float(restored.max())
    if low >= SHIFTED and high <= FAR[1]:
        return None
    usual, values = np.percentile(restored, (1, 99)), f"values from {low:.3g} to {high:.3g}"
    for name, (factor, offset) in SCALES.items():
        gain = _psnr(truth, factor * restored + offset) - _psnr(truth, restored)
        if gain >= SCALE_DB and (usual[0] < SHIFTED if offset else usual[1] > FAR[1]):
            return gain, f"{values}: {gain:.1f} dB better when read as {name}"
    outside = float(np.mean((restored < FAR[0]) | (restored > FAR[1])))
    farthest = max(-low, high)
    if outside > 0.001 or farthest > FARTHEST:
        return farthest, f"{values}, {100 * outside:.2g} % of them far outside 0 to 1"
    return None


def _unchanged(truth: np.ndarray, noisy: np.ndarray, restored: np.ndarray) -> Finding | None:
    """Both are clamped first: to clamp alone is no change."""
    noisy, restored = noisy.clip(0, 1), restored.clip(0, 1)
    noise, change = _rms(noisy, truth), _rms(restored, noisy)
    if change < UNCHANGED * noise:
        return -change / noise, f"changed by {100 * change / noise:.1f} % of the noise"
    return None


def _channels(truth: np.ndarray, restored: np.ndarray) -> Finding | None:
    gain = _psnr(truth, cv2.cvtColor(restored, cv2.COLOR_RGB2BGR)) - _psnr(truth, restored)
    return (gain, f"{gain:.1f} dB better with its channels in reverse") if gain >= SWAPPED_DB else None


def _psnr(truth: np.ndarray, restored: np.ndarray) -> float:
    """Of an output that is clamped, in dB."""
    error = _rms(truth, restored.clip(0, 1))
    return min(-20 * math.log10(error), image_quality.HIGHEST_PSNR) if error else image_quality.HIGHEST_PSNR


def _rms(one: np.ndarray, other: np.ndarray) -> float:
    """Of the difference of two float32 images, summed in float64."""
    return cv2.norm(one, other, cv2.NORM_L2) / one.size**0.5


@dataclass
class _Seen:
    """One image under one condition, its draws of noise together."""

    findings: dict[str, Finding] = field(default_factory=dict)
    gains: list[float] = field(default_factory=list)  # dB
    levels: list[float] = field(default_factory=list)  # estimated, of 255


@dataclass
class Watch:
    """Looks at every output of one model. `trained`: the lowest and highest sigma of 255 that it was trained on."""

    settings: Alarms
    trained: tuple[float, float] | None
    seen: dict[str, dict[str, _Seen]] = field(default_factory=dict)  # by condition and image
    clipped: dict[str, bool] = field(default_factory=dict)  # by condition

    def look(
        self,
        condition: str,
        image: str,
        findings: dict[str, Finding],
        *,
        gain: float,
        level: float,
        clipped: bool,
    ) -> None:
        """Take in one output: what `examine` found, its PSNR minus that of the input (NaN: left out), and the estimated
        noise level of the input (of 255), whose noise was clipped or not."""
        seen = self.seen.setdefault(condition, {}).setdefault(image, _Seen())
        seen.findings |= {k: f for k, f in findings.items() if k not in seen.findings or f > seen.findings[k]}
        seen.gains += [gain] if math.isfinite(gain) else []
        seen.levels.append(level)
        self.clipped[condition] = clipped

    def alarms(self) -> list[Alarm]:
        """What is to be said, condition by condition."""
        return [
            alarm
            for condition, seen in self.seen.items()
            for alarm in (*_outputs(condition, seen), *self._gain(condition, seen), *self._level(condition, seen))
        ]

    def _gain(self, condition: str, seen: dict[str, _Seen]) -> list[Alarm]:
        gains = {image: fmean(one.gains) for image, one in seen.items() if one.gains}
        floor = self.settings.min_gain_db
        below = sum(gain < floor for gain in gains.values())
        if not below:
            return []
        mean = fmean(gains.values())
        worst = min(gains, key=gains.__getitem__)
        text = (
            f"mean gain {mean:+.2f} dB; below {floor:g} dB on {below} of {len(gains)} images, "
            f"most on {worst} ({gains[worst]:+.2f} dB)"
        )
        kind = "some" if mean >= floor else "worse" if mean < 0 else "gain"
        return [Alarm(kind, condition, below, len(gains), worst, text)]

    def _level(self, condition: str, seen: dict[str, _Seen]) -> list[Alarm]:
        """Where the levels of most images are outside: a single one may be texture."""
        if self.trained is None:
            return []
        low = (1 - (BELOW_CLIPPED if self.clipped[condition] else BELOW)) * self.trained[0]
        high = (1 + ABOVE) * self.trained[1] + ABOVE_255
        levels = {image: fmean(one.levels) for image, one in seen.items()}
        outside = {image: max(low - level, level - high) for image, level in levels.items() if not low <= level <= high}
        if 2 * len(outside) <= len(levels):
            return []
        worst = max(outside, key=outside.__getitem__)
        text = (
            f"trained on sigma {' to '.join(f'{level:g}' for level in dict.fromkeys(self.trained))} of 255, but the "
            f"noise is estimated at {median(levels.values()):.1f} (median), outside on {len(outside)} of {len(levels)} "
            f"images, most on {worst} ({levels[worst]:.1f})"
        )
        return [Alarm("level", condition, len(outside), len(levels), worst, text)]


def _outputs(condition: str, seen: dict[str, _Seen]) -> list[Alarm]:
    alarms = []
    for kind in HEADLINES:
        found = {image: one.findings[kind] for image, one in seen.items() if kind in one.findings}
        if not found or (kind == "channels" and 2 * len(found) < len(seen)):  # a tinted image alone is none
            continue
        worst = max(found, key=found.__getitem__)
        text = f"{found[worst][1]} on {worst}, the worst of {len(found)} (of {len(seen)} images)"
        alarms.append(Alarm(kind, condition, len(found), len(seen), worst, text))
    return alarms
