"""What the clients of bench.load send: good, bad and huge pictures, each of its sender alone; and whether what comes
back is theirs."""

import re
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from denoiselab.metrics import image_quality

PICTURE, LARGE, HUGE = "picture", "large picture", "huge picture"
NOTHING, DAMAGED, PIXELS, HEAVY = "no picture", "damaged picture", "too many pixels", "too heavy"
GOOD = (PICTURE, LARGE, HUGE)
SHAPES = {PICTURE: (160, 200), LARGE: (900, 1200), HUGE: (2000, 3000)}  # height, width; a client adds its number
WEIGHTS = {PICTURE: 40, LARGE: 8, NOTHING: 12, DAMAGED: 12, PIXELS: 12, HEAVY: 4}  # how often, among each other
SAID = {NOTHING: "not an image that can be read", DAMAGED: "damaged image", PIXELS: "pixels are too many"}  # in answers
SAME_DB = 25  # PSNR: smooth pictures lose less to a denoiser and to JPEG, those of two senders are 10 dB apart
NAME = re.compile(rb"client-(\d+)-\d+")


@dataclass(frozen=True)
class Upload:
    """A file of one sender; `pixels` (H, W, 3) uint8, None where it is not to be restored."""

    kind: str
    client: int
    name: str
    file: bytes
    pixels: np.ndarray | None = None


@dataclass(frozen=True)
class Allowed:
    """By a server, at most: 10^6 pixels, and bytes."""

    megapixels: int
    bytes: int


def make(kind: str, client: int, turn: int, allowed: Allowed) -> Upload:
    """The same for the same arguments."""
    name = f"client-{client}-{turn}.png"
    if kind in GOOD:
        pixels = _pixels(client, turn, *SHAPES[kind])
        return Upload(kind, client, name, _png(pixels), pixels)
    return Upload(kind, client, name, _bad(kind, client, turn, allowed))


def is_own(upload: Upload, shown: bytes, *, smaller: bool = False) -> bool:
    """Whether the file of a picture shows the one that was sent, restored and, where that may be, made smaller."""
    assert upload.pixels is not None
    found = cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        return False
    sent = upload.pixels[:, :, ::-1]  # as OpenCV has colours
    if found.shape != sent.shape:
        if not smaller:
            return False
        sent = cv2.resize(sent, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    return image_quality.psnr(sent, found, data_range=255) >= SAME_DB


def is_of_another(client: int, raw: bytes) -> bool:
    """Whether bytes from the server name another one's file."""
    return any(int(found) != client for found in NAME.findall(raw))


def _pixels(client: int, turn: int, height: int, width: int) -> np.ndarray:
    """Blobs of colour that no other client and turn has."""
    coarse = np.random.default_rng([client, turn]).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (width + client, height), interpolation=cv2.INTER_CUBIC)


def _bad(kind: str, client: int, turn: int, allowed: Allowed) -> bytes:
    if kind == NOTHING:
        return f"no picture of client {client} ".encode() * 100
    if kind == DAMAGED:
        whole = _png(_pixels(client, turn, *SHAPES[PICTURE]))
        return whole[: len(whole) // 2]
    if kind == PIXELS:
        return _bomb(allowed.megapixels)
    assert kind == HEAVY, kind
    return bytes(allowed.bytes + 1)


def _bomb(megapixels: int) -> bytes:
    """A small file of a few pixels more than so many."""
    stream = BytesIO()
    Image.new("1", (10_000, 100 * megapixels + 1)).save(stream, "PNG")
    return stream.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
