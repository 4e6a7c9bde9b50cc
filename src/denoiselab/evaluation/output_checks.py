"""Alarms about broken outputs, harmful models and too few images.

`Monitor` checks the float outputs of one model before clamping and rounding; report.alarm_lines checks the means.
"""

import math
from dataclasses import dataclass, field
from statistics import fmean, median

import cv2
import numpy as np

from denoiselab.config import Alarms
from denoiselab.imaging import depths
from denoiselab.metrics import image_quality, tone

CONSTANT_255 = 1.0  # an output is constant if its standard deviation is below this in every channel ...
VARIED_255 = 4.0  # ... and that of the clean image is at least this
UNCHANGED = 0.1  # smallest RMS change of a valid output, relative to the noise
FAR = (-1.0, 2.0)  # at most 0.1 % of the values of a valid output are outside this range,
SHIFTED = -0.25  # at most 1 % are below this (more suggest that black is -1),
FARTHEST = 10.0  # and none is this far from 0
SCALES = {"0 to 255": (1 / 255, 0.0), "-1 to 1": (0.5, 0.5)}  # factor and offset to 0 to 1
SCALE_DB = 3.0  # gain of rescaling that shows a wrong range
SWAPPED_DB = 0.5  # gain of reversing the channels that shows swapped channels
# Error of the noise level estimate, measured on the 16 embedded photos at sigma 5 to 102: -0.3 to +3.7 of 255, +8 on a
# meadow (texture counts as noise); down to -32 % with clipped noise.
BELOW, BELOW_CLIPPED = 0.1, 0.35  # tolerance, relative to the lowest level
ABOVE, ABOVE_255 = 0.1, 5.0  # tolerance, relative to the highest level, and for texture

HEADLINES = {
    "not_finite": "Alarm: output not finite",
    "constant": "Alarm: output constant",
    "unchanged": "Alarm: output nearly equal to the input",
    "range": "Alarm: output out of range",
    "channels": "Alarm: channels swapped",
    "worse": "Alarm: worse than the noisy input",
    "gain": "Alarm: gain below the minimum",
    "some": "Warning: little or no gain on some images",
    "tone": "Warning: brightness or colour shifted",
    "level": "Warning: noise level outside the training range",
    "correlated": "Warning: noise correlated between neighbouring pixels",
    "interval": "Warning: interval too wide",
    "few": "Warning: too few images",
}  # by kind, in the order of the report


@dataclass(frozen=True)
class Alarm:
    """An alarm about `images` of `of` images; `worst`: id of the worst one, or empty."""

    kind: str
    condition: str
    images: int
    of: int
    worst: str
    text: str


Finding = tuple[float, str]  # severity, text


def examine(clean: np.ndarray, noisy: np.ndarray, restored: np.ndarray) -> dict[str, Finding]:
    """Faults of an output by kind. (H, W, C): clean of the data's depth, noisy and restored (as the model returned it)
    float32."""
    if not np.isfinite(restored).all():
        broken = float(np.mean(~np.isfinite(restored)))
        return {"not_finite": (broken, f"{100 * broken:.3g} % of the values are NaN or infinite")}
    truth = depths.to_unit(clean)
    deviation, wanted = (255 * float(cv2.meanStdDev(x)[1].max()) for x in (restored, truth))
    if deviation < CONSTANT_255 and wanted >= VARIED_255:
        return {"constant": (-deviation, f"standard deviation {deviation:.2f} of 255 (clean image: {wanted:.1f})")}
    found = {"range": _range(truth, restored), "unchanged": _unchanged(truth, noisy, restored)}
    if clean.shape[2] == 3:
        found["channels"] = _channels(truth, restored)
    if not any(found.values()):  # they would explain it
        found["tone"] = _tone(noisy, restored)
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
    """Both images are clamped first, because clamping alone is no change."""
    noisy, restored = noisy.clip(0, 1), restored.clip(0, 1)
    noise, change = _rms(noisy, truth), _rms(restored, noisy)
    if change < UNCHANGED * noise:
        return -change / noise, f"change of only {100 * change / noise:.1f} % of the noise"
    return None


def _channels(truth: np.ndarray, restored: np.ndarray) -> Finding | None:
    gain = _psnr(truth, cv2.cvtColor(restored, cv2.COLOR_RGB2BGR)) - _psnr(truth, restored)
    return (gain, f"{gain:.1f} dB better with reversed channels") if gain >= SWAPPED_DB else None


def _tone(noisy: np.ndarray, restored: np.ndarray) -> Finding | None:
    shift = tone.largest(noisy, restored)
    return (abs(shift.mean), str(shift)) if shift else None


def _psnr(truth: np.ndarray, restored: np.ndarray) -> float:
    """PSNR of the clamped output in dB."""
    return image_quality.capped_psnr(truth, restored.clip(0, 1), data_range=1)


def _rms(one: np.ndarray, other: np.ndarray) -> float:
    """RMS difference of two float32 images."""
    return image_quality.mse(one, other, data_range=1) ** 0.5


@dataclass
class _Observed:
    """Observations of one image under one condition, all noise draws together."""

    findings: dict[str, Finding] = field(default_factory=dict)
    gains: list[float] = field(default_factory=list)  # dB
    levels: list[float] = field(default_factory=list)  # estimated, of 255


@dataclass
class Monitor:
    """Collects observations of all outputs of one model. `trained`: its lowest and highest training sigma (of 255)."""

    settings: Alarms
    trained: tuple[float, float] | None
    seen: dict[str, dict[str, _Observed]] = field(default_factory=dict)  # by condition and image
    clipped: dict[str, bool] = field(default_factory=dict)  # by condition

    def observe(
        self,
        condition: str,
        image: str,
        findings: dict[str, Finding],
        *,
        gain: float,
        level: float,
        clipped: bool,
    ) -> None:
        """Add one output: faults found by `examine`, gain over the input in dB (NaN: ignored), estimated noise level of
        the input (of 255), and whether the noise was clipped."""
        seen = self.seen.setdefault(condition, {}).setdefault(image, _Observed())
        seen.findings |= {k: f for k, f in findings.items() if k not in seen.findings or f > seen.findings[k]}
        seen.gains += [gain] if math.isfinite(gain) else []
        seen.levels.append(level)
        self.clipped[condition] = clipped

    def alarms(self) -> list[Alarm]:
        """All alarms, by condition."""
        return [
            alarm
            for condition, seen in self.seen.items()
            for alarm in (*_outputs(condition, seen), *self._gain(condition, seen), *self._level(condition, seen))
        ]

    def _gain(self, condition: str, seen: dict[str, _Observed]) -> list[Alarm]:
        gains = {image: fmean(one.gains) for image, one in seen.items() if one.gains}
        floor = self.settings.min_gain_db
        below = sum(gain < floor for gain in gains.values())
        if not below:
            return []
        mean = fmean(gains.values())
        worst = min(gains, key=gains.__getitem__)
        text = (
            f"mean gain {mean:+.2f} dB; below {floor:g} dB on {below} of {len(gains)} images, "
            f"lowest on {worst} ({gains[worst]:+.2f} dB)"
        )
        kind = "some" if mean >= floor else "worse" if mean < 0 else "gain"
        return [Alarm(kind, condition, below, len(gains), worst, text)]

    def _level(self, condition: str, seen: dict[str, _Observed]) -> list[Alarm]:
        """Raised if the levels of most images are outside; on single images it may be texture."""
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
            f"noise is estimated at {median(levels.values()):.1f} (median), outside the range on {len(outside)} of "
            f"{len(levels)} images, farthest on {worst} ({levels[worst]:.1f})"
        )
        return [Alarm("level", condition, len(outside), len(levels), worst, text)]


def _outputs(condition: str, seen: dict[str, _Observed]) -> list[Alarm]:
    alarms = []
    for kind in HEADLINES:
        found = {image: one.findings[kind] for image, one in seen.items() if kind in one.findings}
        if not found or (kind == "channels" and 2 * len(found) < len(seen)):  # may be a tinted image
            continue
        worst = max(found, key=found.__getitem__)
        others = "the only one affected" if len(found) == 1 else f"the worst of {len(found)} affected images"
        text = f"{found[worst][1]} on {worst}, {others} (of {len(seen)})"
        alarms.append(Alarm(kind, condition, len(found), len(seen), worst, text))
    return alarms
