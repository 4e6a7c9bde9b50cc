"""Uploads of the clients of bench.load (valid, invalid and huge images, unique to each client), and a check that an
answer belongs to an upload."""

import re
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from denoiselab.metrics import image_quality

PICTURE, LARGE, HUGE = "image", "large image", "huge image"
NOTHING, DAMAGED, PIXELS, HEAVY = "not an image", "damaged image", "too many pixels", "too many bytes"
GOOD = (PICTURE, LARGE, HUGE)
SHAPES = {
    PICTURE: (160, 200),
    LARGE: (900, 1200),
    HUGE: (2000, 3000),
}  # height, width; each client adds its number to the width
WEIGHTS = {PICTURE: 40, LARGE: 8, NOTHING: 12, DAMAGED: 12, PIXELS: 12, HEAVY: 4}  # relative frequencies
SAID = {
    NOTHING: "not an image that can be read",
    DAMAGED: "damaged image",
    PIXELS: "pixels are too many",
}  # expected in error messages
SAME_DB = 25  # PSNR: denoising and JPEG keep these smooth images above it; images of two clients are at about 10 dB
NAME = re.compile(rb"client-(\d+)-\d+")


@dataclass(frozen=True)
class Upload:
    """A file sent by a client. `pixels`: (H, W, 3) uint8, None for an invalid image."""

    kind: str
    client: int
    name: str
    file: bytes
    pixels: np.ndarray | None = None


@dataclass(frozen=True)
class Allowed:
    """Limits of a server, in megapixels and bytes."""

    megapixels: int
    bytes: int


def make(kind: str, client: int, turn: int, allowed: Allowed) -> Upload:
    """An upload of the given kind; deterministic."""
    name = f"client-{client}-{turn}.png"
    if kind in GOOD:
        pixels = _pixels(client, turn, *SHAPES[kind])
        return Upload(kind, client, name, _png(pixels), pixels)
    return Upload(kind, client, name, _bad(kind, client, turn, allowed))


def is_own(upload: Upload, shown: bytes, *, smaller: bool = False) -> bool:
    """Whether the image file `shown` is the restored upload; `smaller`: it may be scaled down."""
    assert upload.pixels is not None
    found = cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        return False
    sent = upload.pixels[:, :, ::-1]  # BGR, as in OpenCV
    if found.shape != sent.shape:
        if not smaller:
            return False
        sent = cv2.resize(sent, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    return image_quality.psnr(sent, found, data_range=255) >= SAME_DB


def is_of_another(client: int, raw: bytes) -> bool:
    """Whether bytes from the server contain the file name of another client."""
    return any(int(found) != client for found in NAME.findall(raw))


def _pixels(client: int, turn: int, height: int, width: int) -> np.ndarray:
    """Smooth random colours, unique to the client and turn."""
    coarse = np.random.default_rng([client, turn]).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (width + client, height), interpolation=cv2.INTER_CUBIC)


def _bad(kind: str, client: int, turn: int, allowed: Allowed) -> bytes:
    if kind == NOTHING:
        return f"not an image, client {client} ".encode() * 100
    if kind == DAMAGED:
        whole = _png(_pixels(client, turn, *SHAPES[PICTURE]))
        return whole[: len(whole) // 2]
    if kind == PIXELS:
        return _bomb(allowed.megapixels)
    assert kind == HEAVY, kind
    return bytes(allowed.bytes + 1)


def _bomb(megapixels: int) -> bytes:
    """A small PNG file of slightly more than so many megapixels."""
    stream = BytesIO()
    Image.new("1", (10_000, 100 * megapixels + 1)).save(stream, "PNG")
    return stream.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
