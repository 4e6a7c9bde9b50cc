"""Stored noisy validation patches and test images of every test condition.

In data/noisy/<condition>/: val.npy, (N, H, W, C) float32, for the N validation patches; test-<n>-<draw>.npy, (H, W, C)
float32, for the n-th test image; index.json with the condition, its spec, protocol and noise level, the SHA-256 of each
file and the PSNR of each test image. Written once by denoiselab.data.noise_sampling: all models see the same pixels.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from denoiselab.data import manifest, patches
from denoiselab.imaging import depths
from denoiselab.metrics import protocols
from denoiselab.runtime import sealed_json

INDEX = "index.json"
KIND = sealed_json.Kind(range(1, 3), sealed=2)  # of index.json
REMEDY = "run `dvc repro -f add-noise`"


@dataclass(frozen=True)
class TestImage:
    """A test image in one condition: clean (H, W, C) of the data's depth, noisy (H, W, C) float32, white 1.

    Without clean images, `clean` is the noisy image itself.
    """

    image: str
    label: str
    group: str
    sets: tuple[str, ...]
    draw: int
    clean: np.ndarray
    noisy: np.ndarray
    psnr_noisy: float  # in dB, of the noisy image without clipping or rounding; NaN without clean images

    @property
    def shown(self) -> np.ndarray:
        """The clean image for display, (H, W, C) uint8."""
        return self.clean if self.clean.dtype == np.uint8 else depths.from_unit(depths.to_unit(self.clean), np.uint8)


@dataclass(frozen=True)
class Stored:
    """Location of a test image and of one noise draw."""

    row: manifest.Row
    draw: int
    raw: Path  # folder of the clean image
    noisy: Path
    sha256: str  # of `noisy`
    psnr_noisy: float

    def read(self, channels: int) -> TestImage:
        """Load it. UserError if a file is missing, damaged or changed."""
        noisy = np.load(sealed_json.verify(self.noisy, self.sha256, REMEDY))
        clean, row = read_image(self.raw, self.row, channels), self.row
        sets = tuple(row.sets.split())
        return TestImage(row.image, row.label, row.group, sets, self.draw, clean, noisy, self.psnr_noisy)


@dataclass(frozen=True)
class Condition:
    """A test condition, from index.json."""

    name: str
    protocol: protocols.Protocol
    spec: dict[str, Any]
    sigma_255: float  # noise level passed to noise-aware methods
    measured: bool  # whether it is the RMS on the validation patches, as the spec states no level

    @property
    def has_clean(self) -> bool:
        """Whether there are clean reference images."""
        return bool(self.spec["kind"] != "as_is")


def write(folder: Path, index: dict[str, Any]) -> None:
    """Write index.json of the condition in `folder`."""
    KIND.write(folder / INDEX, index)


def verify(root: Path) -> list[str]:
    """SHA-256 of the noisy validation patches of every condition. UserError if they are damaged or changed."""
    digests = []
    for name in names(root):
        digests.append(_index(root / name)["val"]["sha256"])
        sealed_json.verify(root / name / "val.npy", digests[-1], REMEDY)
    return digests


def names(root: Path) -> list[str]:
    """The stored conditions."""
    return sorted(p.parent.name for p in root.glob(f"*/{INDEX}"))


def read(root: Path, condition: str) -> Condition:
    """A stored condition. UserError if its index is damaged, changed or of an unsupported format."""
    index = _index(root / condition)
    protocol = protocols.Protocol(index["protocol"]["name"], index["protocol"]["conventions"])
    return Condition(condition, protocol, index["spec"], index["sigma_255"], index["measured"])


def spread(patch_folder: Path, limit: int | None) -> np.ndarray:
    """Indices of at most `limit` validation patches, evenly spread; None: all."""
    total = len(patches.load(patch_folder, "val"))
    return np.linspace(0, total - 1, total if limit is None else min(limit, total)).round().astype(int)


def validation(root: Path, patch_folder: Path, condition: str, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clean and noisy (float32) validation patches (N, H, W, C) with the indices `chosen`, not verified."""
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
    """Yield the test images of a condition: of one noise draw or all, of the `chosen` images or all.

    UserError if a stored file is damaged or changed.
    """
    for entry in stored(raw, root, condition):
        if draw in (None, entry.draw) and (chosen is None or entry.row.image in chosen):
            yield entry.read(channels)


def stored(raw: Path, root: Path, condition: str) -> list[Stored]:
    """Locations (absolute paths) of all test images of a condition."""
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
    """An image, or its real noisy photograph, (H, W, C) of the data's depth, also with C = 1. UserError if damaged or
    changed."""
    pixels = manifest.pixels(raw, row, channels, noisy=noisy)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
