"""Leak detection: exact and near duplicates across splits, and benchmark images in the training data."""

from dataclasses import dataclass

import cv2
import numpy as np

from denoiselab.data import copies
from denoiselab.data.manifest import SPLITS, Row
from denoiselab.data.readers.sources import table
from denoiselab.imaging import depths

SIDE = 16  # the difference hash has SIDE * SIDE bits
MAX_BITS = 35  # of 256: largest distance of two versions of a photograph; different ones differ in 65 or more as a rule
MAX_SHARE = 0.3  # largest distance relative to the bits set in either hash: flat areas (no bit set) always agree
MARGIN = 0.01  # gray levels; above the rounding differences in flat areas
MAX_BITS_SAME_NAME = 80  # if the image also has the name and size of a benchmark image
CHUNK = 2048  # images compared at once
BSDS_SIZES = {(481, 321), (321, 481)}


@dataclass(frozen=True)
class Leak:
    """`image` in an earlier split and `other` in a later one, or in a benchmark, show the same photograph."""

    image: str
    split: str
    other: str
    other_split: str
    bits: int  # Hamming distance of the hashes, 0 to 256; -1: identical pixels
    points: int = 0  # local features that agree, if the hashes do not

    @property
    def text(self) -> str:
        if self.bits < 0:
            relation = "have identical pixels"
        elif self.points:
            relation = f"show the same, as a crop, turned, mirrored or resized ({self.points} local features agree)"
        else:
            relation = f"are near duplicates ({self.bits} of 256 hash bits differ)"
        return f"{self.image} ({self.split}) and {self.other} ({self.other_split}) {relation}"


def difference_hash(pixels: np.ndarray) -> str:
    """256-bit difference hash (dHash) of (H, W) or (H, W, 3) as 64 hex digits: signs of horizontal gradients."""
    if pixels.dtype != np.uint8:
        pixels = 255 * depths.to_unit(pixels)
    plane = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(plane.astype(np.float32), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1] + MARGIN).tobytes().hex()


def find(rows: list[Row]) -> list[Leak]:
    """All pairs of duplicates in different splits, and training or validation images from BSDS500's val split."""
    bits = {split: _bits([row.dhash for row in rows if row.split == split]) for split in SPLITS}
    members = {split: [row for row in rows if row.split == split] for split in SPLITS}
    found = []
    for n, split in enumerate(SPLITS):
        for later in SPLITS[n + 1 :]:
            found += _identical(members[split], members[later])
            for a, b, distance in _near(bits[split], bits[later], MAX_BITS, MAX_SHARE):
                image, other = members[split][a], members[later][b]
                if image.sha256 != other.sha256:
                    found.append(Leak(image.image, split, other.image, later, distance))
    return found + [leak for split in ("train", "val") for leak in _benchmark(members[split], bits[split])]


def find_copies(rows: list[Row], views: dict[str, list[copies.Features]], known: list[Leak]) -> list[Leak]:
    """Copies in different splits that are not among the `known` leaks. `views`: the features of each image, and of its
    mirror image where it is not in the training split."""
    found, pairs = [], {(leak.image, leak.other) for leak in known}
    for n, split in enumerate(SPLITS):
        earlier = [row for row in rows if row.split == split]
        later = [row for row in rows if row.split in SPLITS[n + 1 :]]
        ours, theirs = [views[row.image][0] for row in earlier], [views[row.image] for row in later]
        for a, b, points in copies.find(ours, theirs):
            image, other = earlier[a], later[b]
            if (image.image, other.image) not in pairs:
                found.append(Leak(image.image, split, other.image, other.split, 0, points))
    return found


def images_to_drop(leaks: list[Leak]) -> set[str]:
    """The images to exclude: those in the earlier splits."""
    return {leak.image for leak in leaks}


def refusal(leaks: list[Leak]) -> str:
    """Error message for leaks."""
    more = f" (and {len(leaks) - 1} more)" if len(leaks) > 1 else ""
    return (
        f"leak: {leaks[0].text}{more}; remove one of them, or set data.drop_leaks=true to exclude the first, "
        "or data.allow_leak=true to continue with an alarm in the report"
    )


def _identical(rows: list[Row], later: list[Row]) -> list[Leak]:
    by_pixels = {row.sha256: row for row in later}
    pairs = [(row, by_pixels[row.sha256]) for row in rows if row.sha256 in by_pixels]
    return [Leak(row.image, row.split, other.image, other.split, -1) for row, other in pairs]


def _benchmark(rows: list[Row], bits: np.ndarray) -> list[Leak]:
    """Images from the 100 of BSDS500's val split, 68 of which are BSD68 and CBSD68."""
    benchmark = table("bsds500_val")
    found = []
    benchmark_bits = _bits([entry["dhash"] for entry in benchmark])
    near = {(a, b) for a, b, _ in _near(bits, benchmark_bits, MAX_BITS, MAX_SHARE)}
    for a, b, distance in _near(bits, benchmark_bits, MAX_BITS_SAME_NAME, 1.0):
        row, entry = rows[a], benchmark[b]
        named = row.image.rpartition("/")[2].partition(".")[0] == entry["id"]
        if (a, b) in near or (named and (row.width, row.height) in BSDS_SIZES):
            exact = row.sha256 in (entry["sha256"], entry["gray_sha256"])
            found.append(Leak(row.image, row.split, f"{entry['id']}.jpg", "BSDS500 val", -1 if exact else distance))
    return found


def _bits(hashes: list[str]) -> np.ndarray:
    """Hashes as (N, 256) float32 of -1 and 1."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, SIDE * SIDE // 8)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _near(one: np.ndarray, two: np.ndarray, max_bits: int, max_share: float) -> list[tuple[int, int, int]]:
    """(row of one, row of two, distance) of pairs with a distance of at most `max_bits`, and less than `max_share` of
    the bits set in either."""
    found = []
    if not len(one) or not len(two):
        return []
    ones = (two.sum(axis=1) + SIDE * SIDE) / 2
    for start in range(0, len(one), CHUNK):
        part = one[start : start + CHUNK]
        distances = (SIDE * SIDE - part @ two.T) / 2
        either = ((part.sum(axis=1, keepdims=True) + SIDE * SIDE) / 2 + ones + distances) / 2
        for a, b in np.argwhere((distances <= max_bits) & (distances < max_share * either)):
            found.append((start + int(a), int(b), int(distances[a, b])))
    return found
