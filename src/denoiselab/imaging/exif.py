"""EXIF blocks as they are in files: the orientation reset without touching anything else, and their way into TIFF.

A block is a small TIFF file without a picture: its directories list fields of (tag, type, count, value). A TIFF file
has the same fields in its own first directory, among those that describe how its pixels are stored.
"""

import struct
from typing import Literal, NamedTuple

Order = Literal["<", ">"]
PREFIX = b"Exif\0\0"  # before the block in JPEG; Pillow puts it before those of PNG and WebP, too
ORIENTATION = 274
SHORT, LONG = 3, 4
SIZES = {1: 1, 2: 1, SHORT: 2, LONG: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes of each type
DIRECTORIES = {34665, 34853, 40965}  # EXIF, GPS, interoperability: the value is where that directory lies
DEPTH = 2  # of directories in directories
# Of a picture's first directory: description, maker, model, resolution, software, date, artist, copyright, XMP, IPTC.
ABOUT = {270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 700, 33723} | DIRECTORIES
ORDERS: dict[bytes, Order] = {b"II*\0": "<", b"MM\0*": ">"}  # of struct, by how a block or a (classic) TIFF file begins


class _Form(NamedTuple):
    """How directories lie in a block or a file, in struct's words; where the first one is stands in its second word."""

    order: Order
    number: str = "H"  # of fields
    word: str = "I"  # a count, a place, or a short value

    @property
    def width(self) -> int:
        """Bytes of a word."""
        return struct.calcsize(f"={self.word}")


BIG = {b"II+\0": _Form("<", "Q", "Q"), b"MM\0+": _Form(">", "Q", "Q")}  # BigTIFF
FORMS = {begin: _Form(order) for begin, order in ORDERS.items()} | BIG


class _Value(NamedTuple):
    kind: int
    number: int
    data: bytes


_Directory = dict[int, "_Value | _Directory"]


def bare(block: bytes) -> bytes:
    """The block without JPEG's prefix."""
    return block.removeprefix(PREFIX)


def orientation(block: bytes) -> int:
    """1 (upright) to 8, of a bare block; 1 where it says nothing that can be read."""
    order, at = _orientation_at(block)
    value = struct.unpack_from(f"{order}H", block, at)[0] if at else 1
    return value if 1 <= value <= 8 else 1


def upright(block: bytes) -> bytes:
    """The bare block with orientation 1 where it has one, and no way to its thumbnail, which shows what was;
    all other bytes stay, those of makers' notes included.
    """
    changed = bytearray(block)
    order, at = _orientation_at(block)
    if at:
        struct.pack_into(f"{order}H", changed, at, 1)
    fields = _fields(block, FORMS[block[:4]], 4) if block[:4] in ORDERS else []
    if fields and (end := fields[-1][0] + 12) + 4 <= len(block):
        struct.pack_into("I", changed, end, 0)
    return bytes(changed)


def of_tiff(content: bytes) -> bytes:
    """The bare block of what a TIFF file says about its picture; empty where it says nothing."""
    about = {tag: value for tag, value in _first(content).items() if tag in ABOUT}
    if not about:
        return b""
    order = FORMS[content[:4]].order
    return _head(order, 8) + _packed(about, order, 8)


def into_tiff(content: bytes, block: bytes) -> bytes:
    """A TIFF file of the block's byte order with what the bare block says about the picture.

    The file's first directory moves to its end; pixels stay where they are.
    """
    order, end = byte_order(block), len(content) + len(content) % 2
    assert ORDERS[content[:4]] == order
    about = {tag: value for tag, value in _first(block).items() if tag in ABOUT}
    moved = _packed(_first(content) | about, order, end)
    return (_head(order, end) + content[8:]).ljust(end, b"\0") + moved


def byte_order(block: bytes) -> Order:
    """As struct has it."""
    return ORDERS.get(block[:4], "<")


def _head(order: str, first: int) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)


def _first(content: bytes) -> _Directory:
    form = FORMS.get(content[:4])
    return _directory(content, form, form.width, DEPTH) if form else {}


def _directory(content: bytes, form: _Form, pointer: int, depth: int) -> _Directory:
    """The directory whose place stands at `pointer`; fields that cannot be read are left out.

    Of a tag the first field counts, and all values together are no longer than the file: one that names itself, or the
    whole file, thousands of times takes neither hours nor all memory.
    """
    found: _Directory = {}
    seen: set[int] = set()
    room = len(content)
    for field, tag, kind, count in _fields(content, form, pointer):
        if tag in seen:
            continue
        seen.add(tag)
        size = SIZES.get(kind, 0) * count
        at = field + 4 + form.width
        place = at if size <= form.width else struct.unpack_from(f"{form.order}{form.word}", content, at)[0]
        if tag in DIRECTORIES:
            if depth and (inner := _directory(content, form, at, depth - 1)):
                found[tag] = inner
        elif 0 < size <= min(room, len(content) - place):
            room -= size
            found[tag] = _Value(kind, count, content[place : place + size])
    return found


def _fields(content: bytes, form: _Form, pointer: int) -> list[tuple[int, int, int, int]]:
    """(place, tag, type, count) of each field of the directory whose place stands at `pointer`."""
    head, size = struct.calcsize(f"={form.number}"), 4 + 2 * form.width
    if pointer + form.width > len(content):
        return []
    (first,) = struct.unpack_from(f"{form.order}{form.word}", content, pointer)
    if first + head > len(content):
        return []
    (number,) = struct.unpack_from(f"{form.order}{form.number}", content, first)
    places = range(first + head, min(first + head + size * number, len(content) - size + 1), size)
    return [(at, *struct.unpack_from(f"{form.order}HH{form.word}", content, at)) for at in places]


def _packed(directory: _Directory, order: str, at: int) -> bytes:
    """A directory that is to lie at `at`, its values behind it."""
    rows, behind = b"", b""
    start = at + 2 + 12 * len(directory) + 4
    for tag, value in sorted(directory.items()):
        place = start + len(behind)
        if isinstance(value, dict):
            rows += struct.pack(f"{order}HHII", tag, LONG, 1, place)
            behind += _packed(value, order, place)
        elif len(value.data) <= 4:
            rows += struct.pack(f"{order}HHI", tag, value.kind, value.number) + value.data.ljust(4, b"\0")
        else:
            rows += struct.pack(f"{order}HHII", tag, value.kind, value.number, place)
            behind += value.data + b"\0" * (len(value.data) % 2)
    return struct.pack(f"{order}H", len(directory)) + rows + b"\0" * 4 + behind


def _orientation_at(block: bytes) -> tuple[str, int]:
    """Byte order and place of the orientation's value in the first directory; 0: there is none."""
    order = byte_order(block)
    for at, tag, kind, count in _fields(block, _Form(order), 4) if block[:4] in ORDERS else []:
        if (tag, kind, count) == (ORIENTATION, SHORT, 1):
            return order, at + 8
    return order, 0
