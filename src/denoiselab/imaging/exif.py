"""EXIF blocks as bytes: read and reset the orientation, and copy a block into TIFF files, leaving all else as it is.

A block is a small TIFF file without pixels: its directories list fields of (tag, type, count, value). A TIFF file has
the same fields in its first directory, next to those that describe its pixels.
"""

import re
import struct
from typing import Literal, NamedTuple

Order = Literal["<", ">"]
PREFIX = b"Exif\0\0"  # before the block in JPEG; Pillow also wants it for PNG and WebP
ORIENTATION = 274
SHORT, LONG = 3, 4
SIZES = {1: 1, 2: 1, SHORT: 2, LONG: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes per type
DIRECTORIES = {34665, 34853, 40965}  # EXIF, GPS, interoperability: the value is the directory's position
DEPTH = 2  # of nested directories
# Kept from a TIFF file: description, maker, model, resolution, software, date, artist, copyright, XMP, IPTC.
DESCRIPTIVE = {270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 700, 33723} | DIRECTORIES
ORDERS: dict[bytes, Order] = {b"II*\0": "<", b"MM\0*": ">"}  # struct's byte order by the first bytes
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


class _Layout(NamedTuple):
    """struct codes of a file's numbers. The second word of a file is the position of its first directory."""

    order: Order
    number: str = "H"  # of fields
    word: str = "I"  # a count, a position, or a short value

    @property
    def width(self) -> int:
        """Bytes per word."""
        return struct.calcsize(f"={self.word}")


BIG = {b"II+\0": _Layout("<", "Q", "Q"), b"MM\0+": _Layout(">", "Q", "Q")}  # BigTIFF
LAYOUTS = {signature: _Layout(order) for signature, order in ORDERS.items()} | BIG


class _Value(NamedTuple):
    kind: int
    number: int
    data: bytes


_Directory = dict[int, "_Value | _Directory"]


def strip_prefix(block: bytes) -> bytes:
    """The block without JPEG's prefix."""
    return block.removeprefix(PREFIX)


def orientation(block: bytes, xmp: bytes = b"") -> int:
    """1 (upright) to 8: that of the block (without prefix), else that of the XMP packet, else 1."""
    order, at = _orientation_at(block)
    if at:
        (value,) = struct.unpack_from(f"{order}H", block, at)
        return value if 1 <= value <= 8 else 1
    found = XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else 1


def reset_orientation(block: bytes) -> bytes:
    """The block with orientation 1, if it has one, and without its thumbnail, which shows the photo as it was.

    All other bytes stay, including makers' notes.
    """
    changed = bytearray(block)
    order, at = _orientation_at(block)
    if at:
        struct.pack_into(f"{order}H", changed, at, 1)
    fields = _fields(block, LAYOUTS[block[:4]], 4) if block[:4] in ORDERS else []
    if fields and (end := fields[-1][0] + 12) + 4 <= len(block):
        struct.pack_into("I", changed, end, 0)
    return bytes(changed)


def from_tiff(content: bytes) -> bytes:
    """A block of the DESCRIPTIVE fields of a TIFF file; empty if it has none."""
    kept = {tag: value for tag, value in _first(content).items() if tag in DESCRIPTIVE}
    if not kept:
        return b""
    order = LAYOUTS[content[:4]].order
    return _head(order, 8) + _packed(kept, order, 8)


def into_tiff(content: bytes, block: bytes) -> bytes:
    """A TIFF file of the block's byte order with the DESCRIPTIVE fields of the block, and orientation 1.

    The file's first directory moves to its end; pixels stay where they are. Without the orientation, readers would
    apply the one in a copied XMP packet.
    """
    order, end = byte_order(block), len(content) + len(content) % 2
    assert ORDERS[content[:4]] == order
    kept = {tag: value for tag, value in _first(block).items() if tag in DESCRIPTIVE}
    upright = {ORIENTATION: _Value(SHORT, 1, struct.pack(f"{order}H", 1))}
    moved = _packed(_first(content) | kept | upright, order, end)
    return (_head(order, end) + content[8:]).ljust(end, b"\0") + moved


def byte_order(block: bytes) -> Order:
    """In struct's notation; "<" for an empty block."""
    return ORDERS.get(block[:4], "<")


def _head(order: str, first: int) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)


def _first(content: bytes) -> _Directory:
    layout = LAYOUTS.get(content[:4])
    return _directory(content, layout, layout.width, DEPTH) if layout else {}


def _directory(content: bytes, layout: _Layout, pointer: int, depth: int) -> _Directory:
    """The directory whose position is stored at `pointer`, without unreadable fields.

    Only the first field of a tag counts, and all values together are no longer than the file: a directory that refers
    to itself, or to the whole file, thousands of times would take hours or all memory.
    """
    found: _Directory = {}
    seen: set[int] = set()
    room = len(content)
    for field, tag, kind, count in _fields(content, layout, pointer):
        if tag in seen:
            continue
        seen.add(tag)
        size = SIZES.get(kind, 0) * count
        at = field + 4 + layout.width
        position = at if size <= layout.width else struct.unpack_from(f"{layout.order}{layout.word}", content, at)[0]
        if tag in DIRECTORIES:
            if depth and (inner := _directory(content, layout, at, depth - 1)):
                found[tag] = inner
        elif 0 < size <= min(room, len(content) - position):
            room -= size
            found[tag] = _Value(kind, count, content[position : position + size])
    return found


def _fields(content: bytes, layout: _Layout, pointer: int) -> list[tuple[int, int, int, int]]:
    """(position, tag, type, count) of each field of the directory whose position is stored at `pointer`."""
    head, size = struct.calcsize(f"={layout.number}"), 4 + 2 * layout.width
    if pointer + layout.width > len(content):
        return []
    (first,) = struct.unpack_from(f"{layout.order}{layout.word}", content, pointer)
    if first + head > len(content):
        return []
    (number,) = struct.unpack_from(f"{layout.order}{layout.number}", content, first)
    positions = range(first + head, min(first + head + size * number, len(content) - size + 1), size)
    return [(at, *struct.unpack_from(f"{layout.order}HH{layout.word}", content, at)) for at in positions]


def _packed(directory: _Directory, order: str, at: int) -> bytes:
    """A directory for position `at`, followed by its values."""
    rows, behind = b"", b""
    start = at + 2 + 12 * len(directory) + 4
    for tag, value in sorted(directory.items()):
        position = start + len(behind)
        if isinstance(value, dict):
            rows += struct.pack(f"{order}HHII", tag, LONG, 1, position)
            behind += _packed(value, order, position)
        elif len(value.data) <= 4:
            rows += struct.pack(f"{order}HHI", tag, value.kind, value.number) + value.data.ljust(4, b"\0")
        else:
            rows += struct.pack(f"{order}HHII", tag, value.kind, value.number, position)
            behind += value.data + b"\0" * (len(value.data) % 2)
    return struct.pack(f"{order}H", len(directory)) + rows + b"\0" * 4 + behind


def _orientation_at(block: bytes) -> tuple[str, int]:
    """Byte order and position of the orientation in the first directory; position 0: it has none."""
    order = byte_order(block)
    for at, tag, kind, count in _fields(block, _Layout(order), 4) if block[:4] in ORDERS else []:
        if (tag, kind, count) == (ORIENTATION, SHORT, 1):
            return order, at + 8
    return order, 0
