"""EXIF blocks as they are in files: the picture's orientation, read and reset without touching anything else."""

import struct

PREFIX = b"Exif\0\0"  # before the block in JPEG; Pillow puts it before those of PNG and WebP, too
ORIENTATION = 274
SHORT = 3  # the type of the orientation's value


def bare(block: bytes) -> bytes:
    """The block without JPEG's prefix."""
    return block.removeprefix(PREFIX)


def orientation(block: bytes) -> int:
    """1 (upright) to 8, of a bare block; 1 where it says nothing that can be read."""
    order, at = _orientation_at(block)
    value = struct.unpack_from(f"{order}H", block, at)[0] if at else 1
    return value if 1 <= value <= 8 else 1


def upright(block: bytes) -> bytes:
    """The bare block with orientation 1 where it has one; all other bytes stay, those of makers' notes included."""
    order, at = _orientation_at(block)
    return block[:at] + struct.pack(f"{order}H", 1) + block[at + 2 :] if at else block


def _orientation_at(block: bytes) -> tuple[str, int]:
    """Byte order (of struct) and place of the orientation's value in the first directory; 0: there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4], "")
    if not order or len(block) < 8:
        return "<", 0
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    if first + 2 > len(block):
        return order, 0
    (count,) = struct.unpack_from(f"{order}H", block, first)
    for at in range(first + 2, min(first + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", block, at)
        if (tag, kind, number) == (ORIENTATION, SHORT, 1):
            return order, at + 8
    return order, 0
