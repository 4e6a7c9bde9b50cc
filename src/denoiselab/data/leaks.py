"""The leak guard: images that two splits share, exactly or nearly, and benchmark images among training images."""

from dataclasses import dataclass

import cv2
import numpy as np

from denoiselab.data.manifest import SPLITS, Row
from denoiselab.data.readers.sources import table

SIDE = 16  # of the difference hash: SIDE * SIDE bits
NEAR = 35  # bits of 256 that two versions of one picture may differ in; different photographs: mostly 65 and more
SHARE = 0.3  # of the bits set in either that may differ: that flat areas (no bit set) agree is no likeness
MARGIN = 0.01  # gray levels; cells of a flat area differ by less, in rounding
SAME_NAME = 80  # bits, where an image also has the name and size of a benchmark image
CHUNK = 2048  # images compared at a time
BSDS_SIZES = {(481, 321), (321, 481)}


@dataclass(frozen=True)
class Leak:
    """`image` (of an earlier split) and `other` (of a later one, or of a benchmark) are the same picture."""

    image: str
    split: str
    other: str
    other_split: str
    bits: int  # 0 to 256 that their hashes differ in; -1: identical pixels

    @property
    def text(self) -> str:
        near = f"are nearly the same picture ({self.bits} of 256 bits differ)"
        how = "have identical pixels" if self.bits < 0 else near
        return f"{self.image} ({self.split}) and {self.other} ({self.other_split}) {how}"


def difference_hash(pixels: np.ndarray) -> str:
    """256-bit dHash of uint8 (H, W) or (H, W, 3) as 64 hex digits: is each cell brighter than its left neighbour?"""
    plane = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(plane.astype(np.float32), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1] + MARGIN).tobytes().hex()


def find(rows: list[Row]) -> list[Leak]:
    """Every pair of images of different splits that show the same picture, and BSDS500's val among what is trained on.

    What is trained on: the training and validation images.
    """
    bits = {split: _bits([row.dhash for row in rows if row.split == split]) for split in SPLITS}
    members = {split: [row for row in rows if row.split == split] for split in SPLITS}
    found = []
    for n, split in enumerate(SPLITS):
        for later in SPLITS[n + 1 :]:
            found += _identical(members[split], members[later])
            for a, b, distance in _near(bits[split], bits[later], NEAR, SHARE):
                one, two = members[split][a], members[later][b]
                if one.sha256 != two.sha256:
                    found.append(Leak(one.image, split, two.image, later, distance))
    return found + [leak for split in ("train", "val") for leak in _benchmark(members[split], bits[split])]


def droppable(leaks: list[Leak]) -> set[str]:
    """The images of the earlier splits."""
    return {leak.image for leak in leaks}


def refusal(leaks: list[Leak]) -> str:
    """The message that stops the pipeline."""
    more = f" (and {len(leaks) - 1} more)" if len(leaks) > 1 else ""
    return (
        f"leak: {leaks[0].text}{more}; remove one of them, or say data.drop_leaks=true to leave out the first, "
        "or data.allow_leak=true to go on, and the report will say so"
    )


def _identical(ones: list[Row], twos: list[Row]) -> list[Leak]:
    by_pixels = {row.sha256: row for row in twos}
    pairs = [(row, by_pixels[row.sha256]) for row in ones if row.sha256 in by_pixels]
    return [Leak(one.image, one.split, two.image, two.split, -1) for one, two in pairs]


def _benchmark(rows: list[Row], bits: np.ndarray) -> list[Leak]:
    """Images that are among the 100 of BSDS500's val split, 68 of which are BSD68 and CBSD68."""
    known = table("bsds500_val")
    found = []
    theirs = _bits([entry["dhash"] for entry in known])
    near = {(a, b) for a, b, _ in _near(bits, theirs, NEAR, SHARE)}
    for a, b, distance in _near(bits, theirs, SAME_NAME, 1.0):
        row, entry = rows[a], known[b]
        named = row.image.rpartition("/")[2].partition(".")[0] == entry["id"]
        if (a, b) in near or (named and (row.width, row.height) in BSDS_SIZES):
            exact = row.sha256 in (entry["sha256"], entry["gray_sha256"])
            found.append(Leak(row.image, row.split, f"{entry['id']}.jpg", "BSDS500 val", -1 if exact else distance))
    return found


def _bits(hashes: list[str]) -> np.ndarray:
    """(N, 256) float32 of -1 and 1."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, SIDE * SIDE // 8)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _near(one: np.ndarray, two: np.ndarray, most: int, share: float) -> list[tuple[int, int, int]]:
    """(row of one, row of two, distance) of pairs at most `most` bits and less than `share` of the set ones apart."""
    found = []
    if not len(one) or not len(two):
        return []
    ones = (two.sum(axis=1) + SIDE * SIDE) / 2
    for start in range(0, len(one), CHUNK):
        part = one[start : start + CHUNK]
        distances = (SIDE * SIDE - part @ two.T) / 2
        either = ((part.sum(axis=1, keepdims=True) + SIDE * SIDE) / 2 + ones + distances) / 2
        for a, b in np.argwhere((distances <= most) & (distances < share * either)):
            found.append((start + int(a), int(b), int(distances[a, b])))
    return found
