"""EXIF blocks as bytes: read and reset the orientation, and copy a block into TIFF files, leaving all else as it is.

A block is a small TIFF file without pixels: its directories list fields of (tag, type, count, value). A TIFF file has
the same fields in its first directory, next to those that describe its pixels.
"""

import mmap
import re
import struct
from typing import Literal, NamedTuple

Buffer = bytes | mmap.mmap
Order = Literal["<", ">"]
PREFIX = b"Exif\0\0"  # before the block in JPEG; Pillow also wants it for PNG and WebP
ORIENTATION = 274
SHORT, LONG = 3, 4
SIZES = {
    1: 1,
    2: 1,
    SHORT: 2,
    LONG: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    16: 8,
    17: 8,
}  # bytes per type
DIRECTORIES = {34665, 34853, 40965}  # EXIF, GPS, interoperability: the value is the directory's position
DEPTH = 2  # of nested directories
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675  # tags of TIFF only
LONG8 = (16, 17)  # types of BigTIFF
# EXIF's part of a TIFF file: description, maker, model, resolution, software, date, artist, copyright.
DESCRIPTIVE = {270, 271, 272, 282, 283, 296, 305, 306, 315, 33432} | DIRECTORIES
# Describe how the pixels of a TIFF file are stored; an encoder writes its own.
STRUCTURAL = {
    *(*range(254, 267), 273, 274, 277, 278, 279, 284, 288, 289, 292, 293, 317, 320, 321, *range(322, 326), 330, 332),
    *(334, 338, 339, *range(342, 348), 400, *range(512, 522), *range(529, 533), 32995, 32996, 32997, 32998, ICC),
    *(33421, 33422, 34016, 37393, 50674, 50844, 65426, 65457),
}
# MetaMorph's and Zeiss' tags say how the images lie in the file, which the output changes; Photoshop's layers show the
# image as it was.
UNCOPIED = {37724, 33628, 33629, 33630, 33631, 34412}
ORDERS: dict[bytes, Order] = {b"II*\0": "<", b"MM\0*": ">"}  # struct's byte order by the first bytes
XMP_ORIENTATION = re.compile(rb'(tiff:Orientation\s*(?:=\s*["\']|>)\s*)([1-8])')


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
    return int(found[2]) if found else 1


def reset_xmp(packet: bytes | None) -> bytes | None:
    """The XMP packet with orientation 1, if it has one."""
    return packet and XMP_ORIENTATION.sub(rb"\g<1>1", packet)


def reset_orientation(block: bytes) -> bytes:
    """The block with orientation 1, if it has one, and without its thumbnail, which shows the photo as it was.

    All other bytes stay, including makers' notes.
    """
    changed = bytearray(block)
    order, at = _orientation_at(block)
    if at:
        struct.pack_into(f"{order}H", changed, at, 1)
    fields = _block_fields(block)
    if fields and (end := fields[-1][0] + 12) + 4 <= len(block):
        struct.pack_into("I", changed, end, 0)
    return bytes(changed)


def from_tiff(content: Buffer, position: int | None = None) -> bytes:
    """A block of the DESCRIPTIVE fields of a TIFF file; empty if it has none.

    `position` is that of the directory; None: the first one.
    """
    return _block(content, {tag: value for tag, value in _at(content, position).items() if tag in DESCRIPTIVE})


def others(content: Buffer, position: int | None = None) -> tuple[bytes, list[int]]:
    """A block of the fields of a TIFF file that neither describe its pixels nor are DESCRIPTIVE, and the tags of those
    that cannot be copied."""
    kept: _Directory = {}
    left: list[int] = []
    layout = LAYOUTS.get(bytes(content[:4]))
    found = _at(content, position)
    for _, tag, _, _ in _fields(content, layout, _first_position(content, layout, position)) if layout else []:
        if tag in DESCRIPTIVE | STRUCTURAL or tag in kept or tag in left:
            continue
        value = found.get(tag)
        value = None if tag in UNCOPIED else value
        value = _of_classic(value, layout.order) if isinstance(value, _Value) and layout else None
        if value is None:
            left.append(tag)
        else:
            kept[tag] = value
    return _block(content, kept), left


def tags(block: bytes) -> list[int]:
    """Tags in the first directory of a block."""
    return [*_at(block, None)]


def values(block: bytes) -> dict[int, tuple[int, int, bytes]]:
    """{tag: (type, count, bytes)} of the first directory of a block, without nested directories."""
    return {
        tag: (value.kind, value.number, value.data)
        for tag, value in _at(block, None).items()
        if isinstance(value, _Value)
    }


def with_values(block: bytes, new: dict[int, tuple[int, int, bytes]], order: Order = "<") -> bytes:
    """The block with these values, which replace those of the same tags; of `order` if the block is empty."""
    found = _at(block, None) | {tag: _Value(*value) for tag, value in new.items()}
    order = byte_order(block) if block else order
    return _head(order, 8) + _packed(found, order, 8) if found else b""


def merged(block: bytes, other: bytes) -> bytes:
    """All fields of two blocks of the same byte order; the first block has priority."""
    assert not (block and other) or byte_order(block) == byte_order(other)
    return _head(order := byte_order(block or other), 8) + _packed(_at(other, None) | _at(block, None), order, 8)


def into_tiff(content: bytes, block: bytes) -> bytes:
    """A TIFF file of the block's byte order with the block's fields, unless STRUCTURAL, and orientation 1.

    The file's first directory moves to its end; pixels stay where they are. Without the orientation, readers would
    apply the one in a copied XMP packet.
    """
    order, end = byte_order(block), len(content) + len(content) % 2
    assert ORDERS[content[:4]] == order
    kept = {tag: value for tag, value in _at(block, None).items() if tag not in STRUCTURAL}
    upright = {ORIENTATION: _Value(SHORT, 1, struct.pack(f"{order}H", 1))}
    moved = _packed(_at(content, None) | kept | upright, order, end)
    return (_head(order, end) + content[8:]).ljust(end, b"\0") + moved


def byte_order(block: bytes) -> Order:
    """In struct's notation; "<" for an empty block."""
    return ORDERS.get(block[:4], "<")


def _head(order: str, first: int) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)


def _block(content: Buffer, directory: _Directory) -> bytes:
    if not directory:
        return b""
    order = LAYOUTS[bytes(content[:4])].order
    return _head(order, 8) + _packed(directory, order, 8)


def _of_classic(value: _Value, order: str) -> _Value | None:
    """With 4 bytes a number, where BigTIFF had 8; None if they are too large."""
    if value.kind not in LONG8:
        return value
    sign = "q" if value.kind == LONG8[1] else "Q"
    numbers = struct.unpack(f"{order}{value.number}{sign}", value.data)
    if sign == "q" or max(numbers) >= 1 << 32:
        return None
    return _Value(LONG, value.number, struct.pack(f"{order}{value.number}I", *numbers))


def _at(content: Buffer, position: int | None) -> _Directory:
    layout = LAYOUTS.get(bytes(content[:4]))
    return _directory(content, layout, _first_position(content, layout, position), DEPTH) if layout else {}


def _first_position(content: Buffer, layout: _Layout, position: int | None) -> int:
    return _pointed(content, layout, layout.width) if position is None else position


def _pointed(content: Buffer, layout: _Layout, pointer: int) -> int:
    """The position stored at `pointer`; beyond the end if it cannot be read."""
    if pointer + layout.width > len(content):
        return len(content)
    (position,) = struct.unpack_from(f"{layout.order}{layout.word}", content, pointer)
    return int(position)


def _directory(content: Buffer, layout: _Layout, first: int, depth: int) -> _Directory:
    """The directory at `first`, without unreadable fields.

    Only the first field of a tag counts, and all values together are no longer than the file: a directory that refers
    to itself, or to the whole file, thousands of times would take hours or all memory.
    """
    found: _Directory = {}
    seen: set[int] = set()
    room = len(content)
    for field, tag, kind, count in _fields(content, layout, first):
        if tag in seen:
            continue
        seen.add(tag)
        size = SIZES.get(kind, 0) * count
        at = field + 4 + layout.width
        position = at if size <= layout.width else _pointed(content, layout, at)
        if tag in DIRECTORIES:
            if depth and (inner := _directory(content, layout, _pointed(content, layout, at), depth - 1)):
                found[tag] = inner
        elif 0 < size <= min(room, len(content) - position):
            room -= size
            found[tag] = _Value(kind, count, bytes(content[position : position + size]))
    return found


def _fields(content: Buffer, layout: _Layout, first: int) -> list[tuple[int, int, int, int]]:
    """(position, tag, type, count) of each field of the directory at `first`."""
    head, size = struct.calcsize(f"={layout.number}"), 4 + 2 * layout.width
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


def _block_fields(block: bytes) -> list[tuple[int, int, int, int]]:
    layout = LAYOUTS[block[:4]] if block[:4] in ORDERS else None
    return _fields(block, layout, _pointed(block, layout, 4)) if layout else []


def _orientation_at(block: bytes) -> tuple[str, int]:
    """Byte order and position of the orientation in the first directory; position 0: it has none."""
    order = byte_order(block)
    for at, tag, kind, count in _block_fields(block):
        if (tag, kind, count) == (ORIENTATION, SHORT, 1):
            return order, at + 8
    return order, 0
