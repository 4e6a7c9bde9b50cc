"""Kind of the noise in images as people have them: camera JPEGs, drawings, icons, scans, dots."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from denoiselab.noise.analysis import estimate
from tests.conftest import photograph

NAMES = ("chelsea", "astronaut", "coffee", "motorcycle_left")
WHITE = ("gaussian", "signal-dependent")


def photo(name: str) -> np.ndarray:
    return photograph(name)[:256, :320]


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def developed(clean: np.ndarray, electrons: float) -> np.ndarray:
    """A camera's image: shot and read noise on a Bayer pattern in linear light, demosaicked, with tone curve."""
    linear, rng = (clean / 255) ** 2.2, np.random.default_rng(0)
    pattern = linear[:, :, 1].copy()
    pattern[::2, ::2], pattern[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    noisy = (rng.poisson(pattern * electrons) + rng.normal(0, 3, pattern.shape)) / electrons
    raw = (noisy * 60000 + 2000).clip(0, 65535).astype(np.uint16)
    colours = cv2.cvtColor(raw, cv2.COLOR_BayerRGGB2RGB)
    return (255 * ((colours - 2000.0) / 60000).clip(0, 1) ** (1 / 2.2)).astype(np.uint8)


def grainy(clean: np.ndarray, sigma_255: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma_255, clean.shape)
    return np.rint(clean + noise).clip(0, 255).astype(np.uint8)


def dotted(clean: np.ndarray, share: float) -> np.ndarray:
    drawn, made = np.random.default_rng(0).random(clean.shape[:2]), clean.copy()
    made[drawn < share / 2], made[drawn > 1 - share / 2] = 0, 255
    return made


def drawing(side: int, smooth: bool = False) -> np.ndarray:
    image = Image.new("RGB", (4 * side, 4 * side), "white")
    draw, rng = ImageDraw.Draw(image), np.random.default_rng(0)
    for _ in range(30):
        draw.line([tuple(place) for place in rng.integers(0, 4 * side, (2, 2)).tolist()], fill="black", width=4)
    draw.ellipse((side, side, 2 * side, 3 * side), fill=(40, 90, 200), outline="black", width=4)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX if smooth else Image.Resampling.NEAREST))


def scan(name: str) -> np.ndarray:
    return np.asarray(Image.fromarray(photo(name)).convert("1").convert("L"))


CASES = {
    "camera JPEG": (lambda name: jpeg(developed(photo(name), 60), 75), NAMES, ("correlated",)),
    "faint camera JPEG": (lambda name: jpeg(developed(photo(name), 1200), 70), NAMES[1:2], ("correlated",)),
    "white noise, then JPEG": (lambda name: jpeg(grainy(photo(name), 12), 90), NAMES, ("correlated",)),
    "white noise": (lambda name: grainy(photo(name), 12), NAMES, WHITE),
    "weak white noise": (lambda name: grainy(photo(name), 6), NAMES, WHITE),
    "noise at night": (lambda name: grainy(photo(name) * np.uint8(0) + dim(name), 12), NAMES, WHITE),
    "few dots": (lambda name: dotted(photo(name), 0.01), NAMES, ("impulse",)),
    "many dots": (lambda name: dotted(photo(name), 0.4), NAMES, ("impulse",)),
    "line art": (lambda _: drawing(256), NAMES[:1], ("clean",)),
    "smooth line art": (lambda _: drawing(256, smooth=True), NAMES[:1], ("clean",)),
    "icon": (lambda _: drawing(24), NAMES[:1], ("clean",)),
    "smooth icon": (lambda _: drawing(48, smooth=True), NAMES[:1], ("clean",)),
    "halftone scan of 1 bit": (scan, NAMES, ("clean",)),
    "text scan of 1 bit": (lambda _: 255 * (photograph("page") > 120).astype(np.uint8), NAMES[:1], ("clean",)),
}


def dim(name: str) -> np.ndarray:
    """A photo whose upper half is black."""
    made = photo(name) // 2
    made[:160] = 0
    return made


@pytest.mark.parametrize("case", CASES)
def test_the_kind_of_noise(case):
    make, names, kinds = CASES[case]
    for name in names:
        made = make(name)
        pixels = (made if made.ndim == 3 else made[:, :, None]).astype(np.float32) / 255
        assert estimate(pixels).kind in kinds, f"{case}, {name}: {estimate(pixels)}"
