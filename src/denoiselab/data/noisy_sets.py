"""Stored noise: the noisy validation patches and test images of every test condition.

data/noisy/<condition>/val.npy is (N, H, W, C) float32 beside the N validation patches, test-<n>-<draw>.npy is
(H, W, C) float32 beside the n-th test image; index.json names the condition, its spec, protocol and level, each
file's sha256 and each test image's PSNR. denoiselab.data.noise_sampling drew it once: every model sees the same pixels.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from denoiselab.data import manifest, patches
from denoiselab.metrics import protocols
from denoiselab.runtime import sealed_json

INDEX = "index.json"
KIND = sealed_json.Kind(range(1, 3), sealed=2)  # of it
REMEDY = "run `dvc repro -f add-noise`"


@dataclass(frozen=True)
class TestImage:
    """A test image under one condition: clean (H, W, C) uint8, noisy (H, W, C) float32.

    Where there are no clean images, `clean` is the noisy one as well.
    """

    image: str
    label: str
    group: str
    sets: tuple[str, ...]
    draw: int
    clean: np.ndarray
    noisy: np.ndarray
    psnr_noisy: float  # of the noisy image as it is, neither clamped nor rounded, in dB; NaN without a clean one


@dataclass(frozen=True)
class Stored:
    """Where a test image and one draw of a condition's noise are."""

    row: manifest.Row
    draw: int
    raw: Path  # folder of the clean image
    noisy: Path
    sha256: str  # of `noisy`
    psnr_noisy: float

    def read(self, channels: int) -> TestImage:
        """ValueError where the image or its noise is not what was written."""
        noisy = np.load(sealed_json.verify(self.noisy, self.sha256, REMEDY))
        clean, row = read_image(self.raw, self.row, channels), self.row
        sets = tuple(row.sets.split())
        return TestImage(row.image, row.label, row.group, sets, self.draw, clean, noisy, self.psnr_noisy)


@dataclass(frozen=True)
class Condition:
    """What index.json says of a condition."""

    name: str
    protocol: protocols.Protocol
    spec: dict[str, Any]
    sigma_255: float  # the level that noise-aware methods are told
    measured: bool  # whether that is the noise's RMS on the validation patches, for want of a stated one

    @property
    def has_clean(self) -> bool:
        """Whether there are clean images to judge by."""
        return bool(self.spec["kind"] != "as_is")


def write(folder: Path, index: dict[str, Any]) -> None:
    """Write what there is to know of the condition in `folder`: what `read`, `stored` and `verify` go by."""
    KIND.write(folder / INDEX, index)


def verify(root: Path) -> list[str]:
    """The sha256 of the noisy validation patches of every condition. ValueError where they are not what was written."""
    digests = []
    for name in names(root):
        digests.append(_index(root / name)["val"]["sha256"])
        sealed_json.verify(root / name / "val.npy", digests[-1], REMEDY)
    return digests


def names(root: Path) -> list[str]:
    """The stored conditions."""
    return sorted(p.parent.name for p in root.glob(f"*/{INDEX}"))


def read(root: Path, condition: str) -> Condition:
    """A stored condition. ValueError where its index is not what was written, or of another format."""
    index = _index(root / condition)
    protocol = protocols.Protocol(index["protocol"]["name"], index["protocol"]["conventions"])
    return Condition(condition, protocol, index["spec"], index["sigma_255"], index["measured"])


def spread(patch_folder: Path, limit: int | None) -> np.ndarray:
    """Numbers of at most `limit` of the validation patches, evenly spread."""
    total = len(patches.load(patch_folder, "val"))
    return np.linspace(0, total - 1, total if limit is None else min(limit, total)).round().astype(int)


def validation(root: Path, patch_folder: Path, condition: str, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clean (N, H, W, C) uint8 and noisy float32 of the validation patches with the numbers `chosen`.

    Whether these are what was written is for `verify` to say.
    """
    clean, noisy = patches.load(patch_folder, "val"), np.load(root / condition / "val.npy", mmap_mode="r")
    return clean[chosen], noisy[chosen]


def test(
    raw: Path,
    root: Path,
    condition: str,
    channels: int,
    *,
    draw: int | None = None,
    chosen: Container[str] | None = None,
) -> Iterator[TestImage]:
    """The test images of a condition, one at a time, of one draw of the noise or all, the `chosen` images or all.

    ValueError where a stored file is not what was written.
    """
    for one in stored(raw, root, condition):
        if draw in (None, one.draw) and (chosen is None or one.row.image in chosen):
            yield one.read(channels)


def stored(raw: Path, root: Path, condition: str) -> list[Stored]:
    """The places of all test images of a condition, absolute."""
    rows, folder = {row.image: row for row in manifest.read(raw, "test")}, (root / condition).absolute()
    return [
        Stored(row, e["draw"], raw.absolute(), folder / e["file"], e["sha256"], _number(e["psnr_noisy"]))
        for e in _index(folder)["test"]
        for row in [rows[e["image"]]]
    ]


def _index(folder: Path) -> dict[str, Any]:
    return KIND.read(folder / INDEX, REMEDY)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def read_image(raw: Path, row: manifest.Row, channels: int, *, noisy: bool = False) -> np.ndarray:
    """An image, or its noisy photograph, (H, W, C) uint8, C 1 too. ValueError where it is not what was fetched."""
    pixels = manifest.pixels(raw, row, channels, noisy=noisy)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
