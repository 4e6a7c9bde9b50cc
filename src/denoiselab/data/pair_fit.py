"""Whether the two images of a noisy/clean pair fit: same scene, same orientation, not shifted.

Both are band-passed and cross-correlated. Noise lowers the correlation, so it is compared with the one that is expected
with the noisy image's noise level.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from denoiselab.imaging import depths

SIDE = 512  # pixels; larger images are reduced until their shorter side has fewer than twice as many
FINE, COARSE = 1.0, 4.0  # sigmas of the band-pass, in pixels
DECIDABLE = 0.15  # lowest expected correlation that tells a misfit
MISFIT = 0.4  # highest correlation of a misfit, relative to the expected one
FIT = 0.6  # lowest correlation of another orientation or partner that fits, relative to the expected one
GAIN = 0.02  # least gain in correlation by which a shift is told
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of the noisy image
    "turned by 180 degrees": lambda x: x[::-1, ::-1],
    "mirrored": lambda x: x[:, ::-1],
    "turned upside down": lambda x: x[::-1],
    "turned left by 90 degrees": np.rot90,
    "turned right by 90 degrees": lambda x: np.rot90(x, 3),
    "transposed": lambda x: x.swapaxes(0, 1),
    "transposed and turned by 180 degrees": lambda x: x[::-1, ::-1].swapaxes(0, 1),
}
MAX_PARTNERS = 20  # misfits among which partners are sought
MAX_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Fit:
    """How a pair fits."""

    correlation: float  # highest over all shifts
    expected: float  # of a pair with that noise
    shift: tuple[int, int]  # rows and columns by which the noisy image is displaced
    turn: str = ""  # of TURNS, that the noisy image appears to have undergone

    @property
    def fits(self) -> bool:
        """Whether both show the same scene; true also if the noise is too strong, or the image too plain, to tell."""
        return self.expected < DECIDABLE or self.correlation > MISFIT * self.expected


class Pair:
    """Band-passed images of a pair, clean and noisy (H, W) or (H, W, C) of one shape and depth."""

    def __init__(self, clean: np.ndarray, noisy: np.ndarray):
        self.factor = max(1, min(clean.shape[:2]) // SIDE)
        grays = [_reduced(_gray(pixels), self.factor) for pixels in (clean, noisy)]
        self.clean, self.noisy = map(_band, grays)
        from skimage.restoration import estimate_sigma  # slow to import

        noise = float(estimate_sigma(grays[1])) * _PASSED
        power = float(np.square(self.clean).mean())
        self.expected = (power / max(power + noise**2, 1e-12)) ** 0.5

    def measure(self) -> Fit:
        """Correlate the two, also turned if they do not fit."""
        fit = self._fit(self.noisy)
        if fit.fits:
            return fit
        turned = {name: turn(self.noisy) for name, turn in TURNS.items()}
        found = {
            name: self._fit(image).correlation for name, image in turned.items() if image.shape == self.clean.shape
        }
        best = max(found, key=found.__getitem__)
        return Fit(fit.correlation, fit.expected, (0, 0), best if found[best] > FIT * fit.expected else "")

    def belongs_to(self, other: "Pair") -> bool:
        """Whether the noisy image fits the clean one of another pair."""
        return self.noisy.shape == other.clean.shape and other._fit(self.noisy).correlation > FIT * other.expected

    def _fit(self, noisy: np.ndarray) -> Fit:
        if not (self.clean.any() and noisy.any()):
            return Fit(0.0, 0.0, (0, 0))
        from skimage.registration import phase_cross_correlation  # slow to import

        shift, error, _ = phase_cross_correlation(
            self.clean, noisy, normalization=None, upsample_factor=2 * self.factor if self.factor > 1 else 1
        )
        correlation = max(0.0, 1 - float(error) ** 2) ** 0.5
        norm = float(np.linalg.norm(self.clean) * np.linalg.norm(noisy))
        in_place = float((self.clean * noisy).sum()) / max(norm, 1e-12)
        rows, columns = (-round(float(part) * self.factor) for part in shift)
        moved = correlation > in_place + GAIN
        return Fit(correlation, self.expected, (rows, columns) if moved else (0, 0))


class Fits:
    """Collects how the pairs of a data set fit."""

    def __init__(self) -> None:
        self.shifted: dict[str, tuple[int, int]] = {}  # by image
        self._misfits: list[tuple[str, Fit, Pair]] = []

    def add(self, image: str, clean: np.ndarray, noisy: np.ndarray) -> Fit:
        """Measure a pair."""
        pair = Pair(clean, noisy)
        fit = pair.measure()
        if not fit.fits:
            self._misfits.append((image, fit, pair))
        elif any(fit.shift):
            self.shifted[image] = fit.shift
        return fit

    def misfits(self) -> list[str]:
        """A description of every pair that does not fit."""
        texts = []
        for image, fit, pair in self._misfits:
            others = self._misfits[:MAX_PARTNERS] if not fit.turn else []
            partner = next((name for name, _, other in others if other is not pair and pair.belongs_to(other)), "")
            reason = f"fits when {fit.turn}" if fit.turn else f"fits {partner}" if partner else "shows something else"
            texts.append(f"{image}: the noisy image {reason}")
        return texts

    def shifts(self) -> list[str]:
        """A description of every shifted pair."""
        return [f"{image} by {down:+d} rows and {right:+d} columns" for image, (down, right) in self.shifted.items()]


def shown(texts: list[str]) -> str:
    """The first descriptions, and how many there are besides."""
    more = f" (and {len(texts) - MAX_SHOWN} more)" if len(texts) > MAX_SHOWN else ""
    return "; ".join(texts[:MAX_SHOWN]) + more


def aligned(clean: np.ndarray, noisy: np.ndarray, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Both images cut to what they share when the noisy one is displaced by `shift` pixels."""
    own, other = (
        tuple(
            slice(max(0, sign * part), size - max(0, -sign * part))
            for part, size in zip(shift, clean.shape[:2], strict=True)
        )
        for sign in (-1, 1)
    )
    return clean[own], noisy[other]


def _gray(pixels: np.ndarray) -> np.ndarray:
    unit = depths.to_unit(pixels)
    return unit if unit.ndim == 2 else unit.mean(axis=2)


def _reduced(gray: np.ndarray, factor: int) -> np.ndarray:
    height, width = (size // factor for size in gray.shape)
    return cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA) if factor > 1 else gray


def _band(gray: np.ndarray) -> np.ndarray:
    band: np.ndarray = cv2.GaussianBlur(gray, (0, 0), FINE) - cv2.GaussianBlur(gray, (0, 0), COARSE)
    return band - band.mean()


_IMPULSE = np.zeros((65, 65), np.float32)
_IMPULSE[32, 32] = 1
_PASSED = float(np.linalg.norm(_band(_IMPULSE)))  # standard deviation of white noise that passes the band
