"""Decode image files to upright arrays, at their own depth: what is needed of pillow_images and tiff_reader.

The readers, dataset_images, photos and stacks, are thin layers on this module and share its checks.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from denoiselab.imaging import encoders, pillow_images, raw, tiff_reader
from denoiselab.imaging.decoded import UPRIGHT, Decoded
from denoiselab.runtime.errors import BusyError, UnsupportedError, UserError
from denoiselab.runtime.sanitize import one_line

__all__ = ["MAX_PIXELS", "SUFFIXES", "UPRIGHT", "Decoded", "decode", "opened", "size"]

MAX_PIXELS = 178_956_970  # Pillow warns of a decompression bomb above it, and refuses twice as many
READ_ONLY = (".jfif", ".jpe", ".gif", ".avif", ".jp2", ".j2k", ".jpx", ".heic", ".heif", ".stk", ".dib", ".lsm")
SUFFIXES = (*encoders.FORMATS, *(suffix for suffix in READ_ONLY if suffix not in encoders.FORMATS))
RAW_SUFFIXES = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
REASONS: dict[type[Exception], str] = {
    UnidentifiedImageError: "not an image that can be read (png, jpg, tif, webp, bmp, gif, avif, jp2, heic)",
    FileNotFoundError: "there is no such file",
    IsADirectoryError: "is a folder",
    PermissionError: "permission denied",
    MemoryError: "too large for this machine's memory",
}

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `max_pixels` is the limit
warnings.filterwarnings("ignore", module=r"(PIL|tifffile)\.")  # damaged files are reported once, in one line


@contextmanager
def opened(source: Path | bytes, name: str = "") -> Iterator[BinaryIO]:
    """Open a file, or its bytes, for `decode` or `size`, with `errors`."""
    name = name or (str(source) if isinstance(source, Path) else "the image")
    with errors(name), source.open("rb") if isinstance(source, Path) else BytesIO(source) as stream:
        yield stream


@contextmanager
def errors(name: str) -> Iterator[None]:
    """Every error inside becomes a UserError "name: reason"."""
    try:
        yield
        return
    except UnsupportedError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - decoders raise anything for damaged files
        known = (text for kind, text in REASONS.items() if isinstance(error, kind))
        reason = next(known, f"damaged image: {one_line(error)}")
    kind = BusyError if reason == REASONS[MemoryError] else UserError
    raise kind(f"{name}: {reason}")


def decode(stream: BinaryIO, max_pixels: int, page: int | None = None, *, linear: bool = False) -> Decoded:
    """Decode a file, or a page of a stack; `linear` is for camera raw files, see raw.decode.

    UnsupportedError: its kind is not supported, it is a stack and no page is given, or its header states more than
    `max_pixels`.

    Any other exception means that the file is damaged.
    """
    if is_tiff(stream):
        try:
            decoded = _decode_tiff(stream, max_pixels, page)
        except raw.RawError:
            decoded = raw.decode(stream, max_pixels, linear=linear)
    elif page:
        raise UnsupportedError(f"is a single image; there is no image {page + 1}")
    elif _is_other_raw(stream):
        decoded = raw.decode(stream, max_pixels, linear=linear)
    else:
        decoded = pillow_images.decode(stream, max_pixels)
    if not decoded.values.size:
        raise UnsupportedError("has no pixels")
    return decoded


def size(stream: BinaryIO, max_pixels: int) -> int:
    """Number of pixels of the first image, stated by the header; of TIFF, four channels count as one pixel.

    Refused only where Pillow refuses it, naming `max_pixels`.
    """
    if is_tiff(stream):
        try:
            with tiff_reader.opened(stream) as pages:
                return pages.pixels()
        except raw.RawError:
            return prod(raw.size(stream))
    if _is_other_raw(stream):
        return prod(raw.size(stream))
    with pillow_images.opened(stream, max_pixels) as image:
        return image.width * image.height


def is_tiff(stream: BinaryIO) -> bool:
    """Whether the file begins like TIFF. UnsupportedError if it is empty."""
    head = stream.read(4)
    stream.seek(0)
    if not head:
        raise UnsupportedError("the file is empty")
    return head in tiff_reader.SIGNATURES


def _decode_tiff(stream: BinaryIO, max_pixels: int, page: int | None) -> Decoded:
    with tiff_reader.opened(stream) as pages:
        if page is None and len(pages) > 1:
            raise UnsupportedError(f"has {len(pages)} images; only denoise, estimate and compare take stacks")
        if page and page >= len(pages):
            raise UnsupportedError(f"has {len(pages)} images; there is no image {page + 1}")
        return pages.decode(page or 0, max_pixels)


def _is_other_raw(stream: BinaryIO) -> bool:
    """Whether it is a camera raw file other than TIFF."""
    head = stream.read(raw.HEAD)
    stream.seek(0)
    return raw.is_raw(head)
