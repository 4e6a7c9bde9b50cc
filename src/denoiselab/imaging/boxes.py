"""Metadata in the boxes of JPEG 2000, AVIF and HEIC that Pillow leaves out.

Sources: ISO/IEC 15444-1, annex I (JP2); ISO/IEC 14496-12, section 12.1.5 (colr); ITU-T H.273 (code points).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from denoiselab.imaging import exif

JP2 = b"\0\0\0\x0cjP  "  # first bytes
XMP, EXIF, GEO = (
    bytes.fromhex(uuid)
    for uuid in (
        "be7acfcb97a942e89c71999491e3afac",
        "4a706754696666457869662d3e4a5032",
        "b14bf8bd083d4b43a5ae8cd7d5a6ce03",
    )
)
UNNAMED = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"rreq", b"free", b"uinf"}  # of JP2: structure
ENUMERATED = {16, 17, 18}  # colour spaces of JP2 that decoders convert to: sRGB, gray, sYCC
SRGB = ({1, 2}, {1, 2, 6, 13})  # primaries and transfer functions that viewers treat as sRGB, or that are not stated
NCLX = b"colrnclx"
HEAD = 1 << 16  # bytes in which AVIF and HEIC state their colours


class Found(NamedTuple):
    """Metadata of JPEG 2000; None: there is none."""

    icc: bytes | None
    xmp: bytes | None
    exif: bytes | None
    lost: tuple[str, ...]  # names of other boxes


def of_jp2(content: bytes) -> Found:
    """Metadata in the boxes around the image; nothing if there are no boxes."""
    held: dict[bytes, bytes] = {}  # by UUID, or b"icc"
    lost: list[str] = []
    for kind, data in _boxes(content) if content.startswith(JP2) else ():
        if kind == b"jp2h":
            for _, colours in filter(lambda box: box[0] == b"colr", _boxes(data)):
                space = int.from_bytes(colours[3:7], "big")
                if colours[:1] in (b"\2", b"\3"):
                    held.setdefault(b"icc", colours[3:])
                elif colours[:1] == b"\1" and space not in ENUMERATED:
                    lost.append(f"colour space {space}")
        elif kind == b"uuid" and data[:16] in (XMP, EXIF):
            held[data[:16]] = data[16:]
        elif kind == b"uuid":
            lost.append("GeoJP2" if data[:16] == GEO else "UUID box")
        elif kind not in UNNAMED:
            lost.append(f"{kind.decode('latin-1').strip()} box")
    block = exif.strip_prefix(held.get(EXIF, b"")) or None
    return Found(held.get(b"icc"), held.get(XMP), block, tuple(lost))


def cicp(content: bytes) -> bytes | None:
    """The colours of AVIF or HEIC as PNG's chunk cICP; None if they are those of sRGB, or not stated."""
    at = content[:HEAD].find(NCLX)
    if at < 0 or at + len(NCLX) + 4 > len(content):
        return None
    primaries, transfer = struct.unpack_from(">HH", content, at + len(NCLX))
    if (primaries in SRGB[0] and transfer in SRGB[1]) or max(primaries, transfer) > 255:
        return None
    return bytes([primaries, transfer, 0, 1])


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of each box."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        head = 8
        if size == 1 and at + 16 <= len(content):
            (size,) = struct.unpack_from(">Q", content, at + 8)
            head = 16
        end = at + size if size else len(content)
        if end < at + head:
            return
        yield kind, content[at + head : end]
        at = end
