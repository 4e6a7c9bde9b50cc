"""Decode the pixels of a TIFF page, strip by strip or tile by tile, without reading or writing beyond what its header
states. tifffile parses the file, zlib, lzma and libtiff (of Pillow) decompress.

Source: TIFF, revision 6.0, sections 9 (PackBits), 13 (LZW), 14 (Predictor); Adobe TIFF Technical Note 3 (float).
"""

import lzma
import struct
import zlib
from io import BytesIO
from math import prod
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from denoiselab.runtime.errors import UnsupportedError, UserError

DEFLATE, LZMA = (8, 32946), 34925  # TIFF's Compression
BY_LIBTIFF = {5: "LZW", 32773: "PackBits", 50000: "Zstandard"}
CODECS = {1, LZMA, *DEFLATE, *BY_LIBTIFF}
HORIZONTAL, FLOATING_POINT = 2, 3  # TIFF's Predictor
SEPARATE = 2  # TIFF's PlanarConfiguration: plane by plane
LARGEST_TILE = 1 << 26  # values
LZMA_MEMORY = 1 << 27  # bytes; a file may ask for 4 GB
LSB_FIRST = 2  # TIFF's FillOrder
KINDS = {1: "u", 2: "i", 3: "f"}  # TIFF's SampleFormat
DTYPES = {"u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"}


def dtype(page: Any) -> np.dtype | None:
    """Type of the decoded values; None if it is not supported."""
    bits, kind = page.bitspersample, KINDS.get(page.sampleformat, "")
    if not isinstance(bits, int):  # tifffile returns several values as they are
        return None
    if kind == "u" and 1 <= bits <= 16:
        return np.dtype(np.uint8 if bits <= 8 else np.uint16)
    return np.dtype(f"{kind}{bits // 8}") if bits % 8 == 0 and f"{kind}{bits // 8}" in DTYPES else None


def read(page: Any, stream: BinaryIO, shift: int = 0) -> np.ndarray:
    """(H, W, N) of `dtype(page)`, as stored: not scaled, inverted or turned. `page.compression` must be in CODECS.

    `shift` is added to the position of the data, for stacks with one directory.

    UserError: data are missing. UnsupportedError: more data or larger tiles than the header allows.
    """
    samples = page.samplesperpixel
    planes = samples if page.planarconfig == SEPARATE else 1
    height, width = page.imagelength, page.imagewidth
    tile_height, tile_width = tile_size(page)
    across, down = -(-width // tile_width), -(-height // tile_height)
    check_segments(page, planes * down * across)
    values = np.empty((height, width, samples), dtype(page))
    for n, (at, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False)):
        plane, place = divmod(n, down * across)
        if plane == planes:
            break
        top, left = place // across * tile_height, place % across * tile_width
        rows = tile_height if page.is_tiled else min(tile_height, height - top)
        stream.seek(at + shift)
        tile = _segment(page, stream.read(size), (rows, tile_width, samples // planes))
        inside = tile[: height - top, : width - left]
        channels = slice(plane, plane + 1) if planes > 1 else slice(None)
        values[top : top + tile_height, left : left + tile_width, channels] = inside
    return values


def tile_size(page: Any) -> tuple[int, int]:
    """Height and width of the page's tiles or strips."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return max(1, min(page.rowsperstrip or page.imagelength, page.imagelength)), page.imagewidth


def check_segments(page: Any, number: int) -> None:
    """Refuse huge tiles and missing segments, before memory is taken for the page."""
    if page.is_tiled and prod(tile_size(page)) * page.samplesperpixel > LARGEST_TILE:
        raise UnsupportedError(f"tiles of {page.tilewidth}x{page.tilelength} pixels are too large")
    counts = page.databytecounts
    if len(counts) < number or len(page.dataoffsets) < number or 0 in counts[:number]:
        raise UserError("the data of some pixels are missing")


def _segment(page: Any, data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """(rows, columns, samples) of a compressed strip or tile."""
    rows, columns, samples = shape
    row_bytes = -(-columns * samples * page.bitspersample // 8)
    if page.fillorder == LSB_FIRST:
        data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()
    content = _decompressed(page.compression, data, rows * row_bytes)
    if len(content) < rows * row_bytes:
        raise UserError("the data of some pixels are missing")
    packed = np.frombuffer(content, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    kind, order = np.dtype(dtype(page)), page.parent.byteorder
    if page.predictor == FLOATING_POINT:
        return _from_differences_of_bytes(packed, shape, kind)
    if page.bitspersample % 8:
        values = _unpacked(packed, page.bitspersample, columns * samples).reshape(shape)
    else:
        values = packed.view(kind.newbyteorder(order)).reshape(shape).astype(kind, copy=False)
    if page.predictor == HORIZONTAL:
        whole = values.view(f"u{values.itemsize}")
        return np.cumsum(whole, axis=1, dtype=whole.dtype).view(kind)
    return values


def _decompressed(compression: int, data: bytes, size: int) -> bytes:
    """At most `size` bytes. UnsupportedError: Deflate and LZMA data that hold more."""
    if compression == 1:
        return data
    if compression in BY_LIBTIFF:
        return _by_libtiff(compression, data, size)
    try:
        if compression == LZMA:
            content = lzma.LZMADecompressor(memlimit=LZMA_MEMORY).decompress(data, size + 1)
        else:
            content = zlib.decompressobj().decompress(data, size + 1)
    except (lzma.LZMAError, zlib.error) as error:
        raise UserError(str(error)) from None
    if len(content) > size:
        raise UnsupportedError("holds more pixels than its header says")
    return content


def _by_libtiff(compression: int, data: bytes, size: int) -> bytes:
    """The bytes as a gray image of one row: libtiff writes no more than that, and raises OSError for less."""
    fields = {256: size, 257: 1, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(data)}
    content = struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(fields))
    content += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items()) + bytes(4)
    with Image.open(BytesIO(content), formats=["TIFF"]) as image:
        return image.tobytes()


def _unpacked(packed: np.ndarray, bits: int, number: int) -> np.ndarray:
    """(rows, number) of integers of `bits` bits, most significant first; each row begins with a byte."""
    kind = np.uint8 if bits <= 8 else np.uint16
    weights: np.ndarray = np.left_shift(1, np.arange(bits)[::-1]).astype(kind)
    values = np.empty((len(packed), number), kind)
    for n, row in enumerate(packed):
        values[n] = np.unpackbits(row)[: number * bits].reshape(number, bits) @ weights
    return values


def _from_differences_of_bytes(packed: np.ndarray, shape: tuple[int, int, int], kind: Any) -> np.ndarray:
    """The floating point predictor: a row holds the differences of all first bytes, then of all second ones, ..."""
    rows, columns, samples = shape
    steps = packed.reshape(rows, -1, samples)
    whole = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, kind.itemsize, columns * samples)
    return np.ascontiguousarray(whole.swapaxes(1, 2)).view(kind.newbyteorder(">"))[:, :, 0].reshape(shape).astype(kind)
