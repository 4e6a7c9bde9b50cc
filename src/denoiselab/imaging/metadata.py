"""What an image file holds besides its pixels: read from PNG, JPEG, WebP and others, and named where it is dropped.

Each kind is a field of Metadata. encoders states which kinds a format holds; tiff_reader reads those of TIFF.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from PIL import Image

from denoiselab.imaging import boxes, exif

PNG = b"\x89PNG\r\n\x1a\n"  # first bytes
INCH_M = 0.0254
PHOTOSHOP = b"Photoshop 3.0\0"  # before the image resources in JPEG
RESOURCE = b"8BIM"
IPTC, THUMBNAILS = 0x0404, (0x0409, 0x040C)  # image resources
XMP_KEYWORD, RAW_PROFILE = b"XML:com.adobe.xmp", b"Raw profile type "
# Chunks of PNG with the pixels, or with what another field holds; the rest is kept byte by byte.
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"CgBI", b"iDOT"}
OWN_CHUNKS = {b"iCCP", b"eXIf", b"pHYs"}
DEFAULT_COLOURS = {  # chunks that say no more than what viewers assume without them
    b"gAMA": {struct.pack(">I", 45455), struct.pack(">I", 45454)},
    b"cHRM": {struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)},
    b"sRGB": {bytes([n]) for n in range(4)},
    b"cICP": {bytes([1, 13, 0, 1])},
}
CHUNK_WORDS = {b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"tIME": "time of change"}
# Segments of JPEG that another field holds, or that describe its coding.
OWN_SEGMENTS = (
    *(b"JFIF\0", b"JFXX\0", b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Adobe", b"MPF\0"),
    PHOTOSHOP,
)
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")  # with a segment behind, except for the end
PADDING = b"\0\xff\r\n "  # behind a JPEG, of no meaning
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # extensions of GIF that say nothing of a still image
OWN_TAGS = {exif.XMP, exif.IPTC, exif.PHOTOSHOP}  # of TIFF, which other fields hold
TEXT_LIMIT = 1 << 24  # bytes of an inflated text chunk


@dataclass(frozen=True)
class Metadata:
    """Metadata of an upright image. None or empty: there is none."""

    icc: bytes | None = None  # colour profile
    exif: bytes | None = None  # without JPEG's prefix, orientation reset
    xmp: bytes | None = None  # packet, orientation reset
    photoshop: bytes | None = None  # Photoshop's image resources, which contain IPTC
    density: tuple[float, float] | None = None  # pixels per inch, horizontal and vertical
    comment: bytes | None = None
    tags: bytes | None = None  # other fields of a TIFF file, as a block like `exif`
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # (type, data) of PNG
    segments: tuple[tuple[str, bytes], ...] = ()  # (name, content) of JPEG
    lost: tuple[str, ...] = ()  # names of what no output holds


NOTHING = Metadata()
WORDS = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP", "photoshop": "IPTC", "density": "resolution"}
WORDS |= {"comment": "comment"}
KINDS = (*WORDS, "tags", "chunks", "segments")


def dropped(metadata: Metadata, holds: frozenset[str]) -> list[str]:
    """Names of what a format that holds those kinds drops."""
    names = [word for kind, word in WORDS.items() if getattr(metadata, kind) and kind not in holds]
    if "tags" not in holds:
        names += tag_names(tag for tag in exif.tags(metadata.tags or b"") if tag not in OWN_TAGS)
    if "chunks" not in holds:
        names += [_chunk_name(kind) for kind, data in metadata.chunks if data not in DEFAULT_COLOURS.get(kind, ())]
    if "segments" not in holds:
        names += [name for name, _ in metadata.segments]
    return [*dict.fromkeys([*names, *metadata.lost])]


def of_pillow(image: Image.Image, stream: BinaryIO) -> tuple[Metadata, int]:
    """Metadata of a loaded image other than TIFF, and its orientation (1 to 8), which is reset in them."""
    found = Metadata(icc=_info(image, "icc_profile"), exif=exif.strip_prefix(_info(image, "exif") or b"") or None)
    found = replace(found, xmp=_info(image, "xmp"), density=_density(image), comment=_info(image, "comment"))
    if image.format == "PNG":
        found = _of_png(found, stream)
    elif image.format in ("JPEG", "MPO"):
        found = _of_jpeg(found, image, stream)
    elif image.format == "JPEG2000":
        held = boxes.of_jp2(_all(stream))
        found = replace(found, icc=held.icc, xmp=held.xmp, exif=held.exif, lost=held.lost)
    elif image.format in ("AVIF", "HEIF"):
        found = _of_heif(found, image, stream)
    elif image.format == "BMP":
        found = replace(found, icc=_profile_of_bmp(_all(stream)))
    elif image.format == "GIF" and (extension := image.info.get("extension")) and extension[0] not in LOOPS:
        found = replace(found, lost=(extension[0].decode("latin-1"),))
    turn = exif.orientation(found.exif or b"", found.xmp or b"")
    block = exif.reset_orientation(found.exif or b"") or None
    return replace(found, exif=block, xmp=exif.reset_xmp(found.xmp)), turn


def resources(photoshop: bytes | None) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, content, all bytes) of Photoshop's image resources."""
    data, at = photoshop or b"", 0
    while data[at : at + 4] == RESOURCE and at + 12 <= len(data):
        start, (number,) = at, struct.unpack_from(">H", data, at + 4)
        at += 6 + (1 + data[at + 6] + 1) // 2 * 2
        if at + 4 > len(data):
            return
        (size,) = struct.unpack_from(">I", data, at)
        if at + 4 + size > len(data):  # damaged
            return
        content = data[at + 4 : at + 4 + size]
        at += 4 + (size + 1) // 2 * 2
        yield number, content, data[start:at].ljust(at - start, b"\0")


def resource(number: int, content: bytes) -> bytes:
    """An image resource without name."""
    return RESOURCE + struct.pack(">HHI", number, 0, len(content)) + content + b"\0" * (len(content) % 2)


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, data) of the chunks of a PNG."""
    at = len(PNG)
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        at += 12 + size
        if content[at - 8 - size : at - 4 - size] == b"IEND":
            return


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk as bytes."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def end_of_jpeg(content: bytes) -> int:
    """Position behind the image in a JPEG file."""
    at = 2
    while found := JPEG_MARKER.search(content, at):
        if found[0] == b"\xff\xd9":
            return found.end()
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return len(content)


def _info(image: Image.Image, key: str) -> bytes | None:
    """Pillow's metadata of that name, unless it is one of PNG's texts or empty."""
    value = image.info.get(key)
    return value or None if isinstance(value, bytes) else None


def _density(image: Image.Image) -> tuple[float, float] | None:
    if image.format == "PNG" or "dpi" not in image.info:
        return None
    with suppress(TypeError, ValueError, ZeroDivisionError):
        x, y = map(float, image.info["dpi"])
        return (x, y) if 0 < x < 1e9 and 0 < y < 1e9 else None
    return None


def _all(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def _of_heif(found: Metadata, image: Any, stream: BinaryIO) -> Metadata:
    """Of AVIF or HEIC."""
    stream.seek(0)
    colours = None if found.icc else boxes.cicp(stream.read(boxes.HEAD))
    lost = [_further(image), "depth map" if image.info.get("depth_images") else ""]
    lost += ["auxiliary image" if image.info.get("aux") else ""]
    return replace(found, chunks=((b"cICP", colours),) if colours else (), lost=tuple(filter(None, lost)))


def _profile_of_bmp(content: bytes) -> bytes | None:
    """The embedded colour profile of BITMAPV5HEADER."""
    if len(content) < 138 or content[14:18] != struct.pack("<I", 124) or content[70:74] != b"DEBM":
        return None
    at, size = struct.unpack_from("<II", content, 126)
    return content[14 + at : 14 + at + size] or None


def _further(image: Any) -> str:
    """Images in the file besides the first, in words; empty if there are none."""
    further = getattr(image, "n_frames", 1) - 1
    return "" if further < 1 else "second image" if further == 1 else f"{further} further images"


def _of_png(found: Metadata, stream: BinaryIO) -> Metadata:
    content = _all(stream)
    kept: list[tuple[bytes, bytes]] = []
    depth, colour_type = content[24], content[25]
    for kind, data in png_chunks(content):
        keyword = data.partition(b"\0")[0] if kind in (b"tEXt", b"zTXt", b"iTXt") else b""
        if kind == b"pHYs" and len(data) == 9:
            x, y, unit = struct.unpack(">IIB", data)
            if unit == 1 and x and y:
                found = replace(found, density=(x * INCH_M, y * INCH_M))
            else:
                kept.append((kind, data))
        elif keyword == XMP_KEYWORD:
            found = replace(found, xmp=found.xmp or _text(kind, data))
        elif keyword == b"Comment" and not found.comment:
            found = replace(found, comment=_text(kind, data) or None)
        elif keyword.startswith(RAW_PROFILE) and (profile := _raw_profile(_text(kind, data))):
            found = _with_profile(found, keyword.removeprefix(RAW_PROFILE).lower(), profile)
        elif kind in (b"bKGD", b"sBIT", b"hIST", b"sPLT") and (depth < 8 or colour_type == 3 or kind == b"hIST"):
            if kind in (b"bKGD", b"sPLT"):
                found = replace(found, lost=(*found.lost, _chunk_name(kind)))
        elif kind not in PIXEL_CHUNKS | OWN_CHUNKS:
            kept.append((kind, data))
    return replace(found, chunks=tuple(kept))


def _text(kind: bytes, data: bytes) -> bytes:
    """Content of a text chunk; empty if it cannot be read."""
    rest = data.partition(b"\0")[2]
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    text = rest[1:] if kind == b"zTXt" else rest
    if kind == b"iTXt":
        text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(text, TEXT_LIMIT) if packed else text
    return b""


def _raw_profile(text: bytes) -> bytes:
    r"""Bytes of ImageMagick's profile: "\nname\n  length\nhexadecimal digits"."""
    with suppress(ValueError):
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    return b""


def _with_profile(found: Metadata, name: bytes, profile: bytes) -> Metadata:
    """With a raw profile, unless there is one of its kind."""
    if name in (b"exif", b"app1") and profile.startswith(exif.PREFIX):
        return replace(found, exif=found.exif or exif.strip_prefix(profile))
    if name == b"exif":
        return replace(found, exif=found.exif or profile)
    if name in (b"xmp", b"app1"):
        return replace(found, xmp=found.xmp or profile.removeprefix(b"http://ns.adobe.com/xap/1.0/\0"))
    if name in (b"icc", b"icm"):
        return replace(found, icc=found.icc or profile)
    if name in (b"iptc", b"8bim"):
        stream = profile.removeprefix(PHOTOSHOP)
        return replace(found, photoshop=stream if stream.startswith(RESOURCE) else resource(IPTC, stream))
    return replace(found, lost=(*found.lost, f"profile {name.decode('latin-1')}"))


def _of_jpeg(found: Metadata, image: Any, stream: BinaryIO) -> Metadata:
    segments, photoshop = [], b""
    for name, content in image.applist:
        if content.startswith(PHOTOSHOP):
            photoshop += content.removeprefix(PHOTOSHOP)
        elif name != "COM" and not content.startswith(OWN_SEGMENTS):
            segments.append((name, content))
    comments = [content for name, content in image.applist if name == "COM" and content]
    lost = _further(image)
    if not lost and (content := _all(stream))[end_of_jpeg(content) :].strip(PADDING):
        lost = "data after the image, such as a video"
    return replace(
        found,
        comment=b"\n".join(comments) or None,
        photoshop=b"".join(whole for n, _, whole in resources(photoshop) if n not in THUMBNAILS) or None,
        segments=tuple(segments),
        lost=(lost,) if lost else (),
    )


def _chunk_name(kind: bytes) -> str:
    return CHUNK_WORDS.get(kind, kind.decode("latin-1"))


def tag_names(tags: Iterable[int]) -> list[str]:
    """Names of TIFF tags."""
    import tifffile

    return [tifffile.TIFF.TAGS.get(tag, f"tag {tag}") for tag in tags]
