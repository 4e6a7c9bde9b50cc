"""Read TIFF files image by image: single images, pages, ImageJ and OME stacks, MetaMorph STK. Also BigTIFF.

tifffile parses the file; tiff_segments decodes the pixels, Pillow those of JPEG, CCITT and other colour models.
"""

import logging
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from denoiselab.imaging import exif, metadata, pillow_images, tiff_segments
from denoiselab.imaging.decoded import UPRIGHT, Decoded, check_size, limit
from denoiselab.imaging.metadata import NOTHING, Metadata
from denoiselab.imaging.raw import RawError
from denoiselab.runtime.errors import UnsupportedError, UserError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3  # TIFF's PhotometricInterpretation
RAW = (32803, 34892)  # mosaic and linear raw
MOST_CHANNELS = 512  # per pixel
DESCRIPTION, NO_DATA, DNG_VERSION = 270, 42113, 50706  # tags
PILLOW_CHANNELS = (1, 3, 4)  # planes of 2 or 5 channels in JPEG lose some
JPEG, CCITT = (6, 7), (2, 3, 4)  # TIFF's Compression
INCHES = {1: 1.0, 2: 1.0, 3: metadata.INCH_M * 100}  # TIFF's ResolutionUnit: none, inch, centimetre
EXTRA_SAMPLES = {  # TIFF's ExtraSamples other than plain transparency; dropped where they are opaque, else refused
    0: "has a channel besides its colours that is not transparency; save the image without it",
    1: "has colours premultiplied by transparency; save it with plain transparency",
}


class _Place(NamedTuple):
    """Where an image of the file is."""

    page: int
    shift: int = 0  # bytes from the page's own pixels, in stacks with one directory


@contextmanager
def opened(stream: BinaryIO) -> Iterator["Pages"]:
    """Parse a TIFF file. UnsupportedError or UserError if it has no image, or only a thumbnail."""
    pages = Pages.of(stream)
    try:
        yield pages
    finally:
        pages.close()


class Pages:
    """The images of a TIFF file other than thumbnails, decoded one at a time."""

    @classmethod
    def of(cls, stream: BinaryIO) -> "Pages":
        """Parse a TIFF file, see `opened`; to be closed."""
        import tifffile

        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damaged files are reported once, by the caller
        stream.seek(0)  # tifffile counts from there
        return cls(tifffile.TiffFile(stream), stream)

    def __init__(self, tiff: Any, stream: BinaryIO) -> None:
        self.tiff, self.stream = tiff, stream
        tiff.pages.cache = False  # memory for one page at a time
        self.content = _mapped(stream)
        self.reduced = self.masks = 0
        self.places = self._found()

    def __len__(self) -> int:
        return len(self.places)

    def size(self, n: int = 0) -> tuple[int, int]:
        """Width and height that the header states."""
        return _size(self._page(n))

    def pixels(self, n: int = 0) -> int:
        """Number of pixels that the header states, four channels counted as one pixel."""
        page = self._page(n)
        return prod(_size(page)) * -(-int(page.samplesperpixel) // 4)

    def decode(self, n: int, max_pixels: int) -> Decoded:
        """Decode image `n`. UnsupportedError: not supported, or more than `max_pixels`; other errors: damaged."""
        page = self._page(n)
        check_size(*_size(page), max_pixels)
        if self.pixels(n) > max_pixels:
            size = "x".join(map(str, _size(page)))
            raise UnsupportedError(
                f"{size} pixels of {page.samplesperpixel} channels are too many; {limit(max_pixels)}"
            )
        values, separate, lost, by_pillow = self._values(page, n)
        if not values.size:
            raise UnsupportedError("has no pixels")
        about = NOTHING if self.places[n].shift else self._metadata(page)
        if not by_pillow:
            values = np.ascontiguousarray(UPRIGHT[_orientation(page)](values))
        lost += ["thumbnail or smaller copy"] if self.reduced else []
        lost += ["transparency mask"] if self.masks else []
        if "CMYK" in "".join(lost):
            about = replace(about, icc=None)
        return Decoded(values, replace(about, lost=(*about.lost, *lost)), separate, self._no_data(page))

    @property
    def byte_order(self) -> str:
        """In struct's notation."""
        return str(self.tiff.byteorder)

    @property
    def bytes_per_pixel(self) -> int:
        """Of the first image, decoded."""
        page = self._page(0)
        return int(page.samplesperpixel) * np.dtype(tiff_segments.dtype(page)).itemsize

    def description(self) -> bytes:
        """ImageDescription of the first page: OME-XML, or ImageJ's axes."""
        block = exif.from_tiff(self.content, self.tiff.pages[0].offset)
        return exif.values(block).get(DESCRIPTION, (2, 0, b""))[2] if block else b""

    def close(self) -> None:
        """Close the file's memory map; the stream stays open."""
        if isinstance(self.content, mmap.mmap):
            self.content.close()

    def _page(self, n: int) -> Any:
        return self.tiff.pages[self.places[n].page]

    def _found(self) -> list[_Place]:
        number = len(self.tiff.pages)
        if not number:
            raise UserError("there is no image in it")
        places, raw = [], False
        for n in range(number):
            page = self.tiff.pages[n]
            raw = raw or DNG_VERSION in page.tags or page.photometric in RAW
            if page.is_mask:
                self.masks += 1
            elif page.is_reduced:
                self.reduced += 1
            else:
                places.append(_Place(n))
                self.reduced += len(page.subifds or ())
        if raw or not places:
            raise RawError("is a camera raw file, or has only a thumbnail")
        if number == 1:
            places = [_Place(0, n * size) for n, size in enumerate(self._in_one_directory())]
        return places

    def _in_one_directory(self) -> list[int]:
        """Size in bytes of each image of a file with one directory: stacks of ImageJ above 4 GB, and of MetaMorph."""
        page = self.tiff.pages[0]
        if not (page.is_imagej or page.is_shaped or page.is_stk):
            return [0]
        series = self.tiff.series[0]
        frames = prod(series.shape) * page.dtype.itemsize // page.nbytes if page.dtype and page.nbytes else 1
        if frames <= 1:
            return [0]
        if page.compression != 1 or not page.is_contiguous:
            raise UnsupportedError(f"is a stack of {frames} compressed images in one directory; save it as pages")
        if page.dataoffsets[0] + frames * page.nbytes > len(self.content):
            raise UserError(f"the data of some of its {frames} images are missing")
        return [page.nbytes] * frames

    def _values(self, page: Any, n: int) -> tuple[np.ndarray, bool, list[str], bool]:
        """(H, W, N), whether the channels are separate, what was lost, and whether they are upright already."""
        if page.compression not in tiff_segments.CODECS or page.photometric not in (
            WHITE_IS_ZERO,
            BLACK_IS_ZERO,
            RGB,
            PALETTE,
        ):
            values, lost = self._by_pillow(page, n)
            return values, False, lost, True
        if tiff_segments.dtype(page) is None:
            raise UnsupportedError(f"{_kind(page)} pixels are not supported; convert to 8 or 16 bits or float")
        if page.samplesperpixel > MOST_CHANNELS or page.imagedepth > 1:
            raise UnsupportedError(f"pixels of shape {page.shape} are not supported; save it as pages")
        values = tiff_segments.read(page, self.stream, self.places[n].shift)
        if page.photometric == PALETTE:
            return _coloured(values, page), False, [], False
        values = _full_range(values, page.bitspersample)
        if page.photometric == WHITE_IS_ZERO:
            values = _inverted(values)
        gray, samples = page.photometric != RGB, values.shape[2]
        if gray and samples > 1 and (samples > 2 or page.extrasamples[:1] not in ((1,), (2,))):
            opaque = samples == 2 and page.extrasamples and _is_opaque(values)
            return (values[:, :, :1], False, [], False) if opaque else (values, True, [], False)
        colours = 1 if gray else 3
        if samples not in (colours, colours + 1):
            raise UnsupportedError(
                f"pixels of shape {page.shape} are not supported; only gray or RGB, with transparency"
            )
        return _without_opaque(values, page), False, [], False

    def _by_pillow(self, page: Any, n: int) -> tuple[np.ndarray, list[str]]:
        """JPEG, CCITT and colour models such as CMYK, upright."""
        if page.compression not in {*JPEG, *CCITT, *tiff_segments.CODECS}:
            raise UnsupportedError(
                f"{getattr(page.compression, 'name', page.compression)} compression is not supported; "
                "save it with Deflate, LZW or none"
            )
        if page.bitspersample not in (1, 8):
            what = "JPEG" if page.compression in JPEG else "this colour model"
            raise UnsupportedError(f"{_kind(page)} pixels of {what} are not supported; convert to RGB without JPEG")
        if page.samplesperpixel not in PILLOW_CHANNELS:
            channels = f"{page.samplesperpixel} channels"
            raise UnsupportedError(f"JPEG and colour models of {channels} are not supported; save it with Deflate")
        planes = page.samplesperpixel if page.planarconfig == tiff_segments.SEPARATE else 1
        height, width = tiff_segments.tile_size(page)
        number = planes * -(-page.imagelength // max(1, height)) * -(-page.imagewidth // max(1, width))
        tiff_segments.check_segments(page, number if page.compression not in JPEG else 0)
        self.stream.seek(0)
        try:
            with Image.open(self.stream, formats=["TIFF"]) as image:
                image.seek(self.places[n].page)
                image.load()
                return pillow_images.values(image)
        except (UnidentifiedImageError, SyntaxError):
            model = f"{getattr(page.photometric, 'name', page.photometric)} with {page.samplesperpixel} channels"
            raise UnsupportedError(f"pixels of {model} are not supported; convert to gray or RGB") from None

    def _no_data(self, page: Any) -> float | None:
        """GDAL's value of missing pixels."""
        with suppress(ValueError, TypeError):
            return float(page.tags.valueof(NO_DATA))
        return None

    def _metadata(self, page: Any) -> Metadata:
        order = self.byte_order
        block = exif.from_tiff(self.content, page.offset) or None
        tags, left = exif.others(self.content, page.offset)
        found = exif.values(tags) if tags else {}
        packet = found[exif.XMP][2] if exif.XMP in found else None
        if packet:
            tags = exif.with_values(tags, {exif.XMP: (1, len(packet), exif.reset_xmp(packet) or b"")})
        images = found[exif.PHOTOSHOP][2] if exif.PHOTOSHOP in found else b""
        if exif.IPTC in found and not any(number == metadata.IPTC for number, *_ in metadata.resources(images)):
            images += metadata.resource(metadata.IPTC, found[exif.IPTC][2])
        return Metadata(
            icc=bytes(page.iccprofile) if page.iccprofile else None,
            exif=block,
            xmp=exif.reset_xmp(packet),
            photoshop=images or None,
            density=_density(block, order),
            tags=tags or None,
            lost=tuple(metadata.tag_names(left)),
        )


def _mapped(stream: BinaryIO) -> exif.Buffer:
    """The file's bytes, without reading them where it is on a disk."""
    with suppress(OSError, AttributeError, ValueError):
        if isinstance(getattr(stream, "name", None), str | Path):
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    stream.seek(0)
    return stream.read()


def _size(page: Any) -> tuple[int, int]:
    """Width and height stated by the header."""
    width, height = page.imagewidth, page.imagelength
    if not (isinstance(width, int) and isinstance(height, int)):  # tifffile returns several values as they are
        raise UserError("its width and height are not numbers")
    return width, height


def _kind(page: Any) -> str:
    """Depth and type of the pixels in words."""
    known = {1: "unsigned", 2: "signed", 3: "float"}
    return f"{page.bitspersample}-bit {known.get(page.sampleformat, 'complex or undefined')}"


def _orientation(page: Any) -> int:
    tag, xmp = page.tags.get(exif.ORIENTATION), page.tags.get(exif.XMP)
    if tag:
        return int(tag.value) if tag.value in UPRIGHT else 1
    return exif.orientation(b"", xmp.value if xmp and isinstance(xmp.value, bytes) else b"")


def _full_range(values: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned values of 1 to 7 or 9 to 15 bits, scaled to 8 or 16 bits."""
    if values.dtype.kind != "u" or bits % 8 == 0:
        return values
    highest, stored = np.iinfo(values.dtype).max, (1 << bits) - 1
    scaled = np.rint(np.arange(stored + 1) * (highest / stored)).astype(values.dtype)
    return scaled[values]


def _inverted(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "u" or values.shape[2] > 1:
        raise UnsupportedError("inverted gray with float or signed values or several channels is not supported")
    return np.iinfo(values.dtype).max - values


def _coloured(values: np.ndarray, page: Any) -> np.ndarray:
    """(H, W, 3) uint8, or uint16 if the palette needs it, of indices."""
    palette = page.colormap
    if palette is None or values.dtype.kind != "u" or values.shape[2] > 1 or palette.shape[1] <= int(values.max()):
        raise UnsupportedError("has indices without a palette for them")
    palette = np.ascontiguousarray(palette.T)
    low = palette & 255
    if (low == 0).all() or (low == palette >> 8).all():
        palette = (palette >> 8).astype(np.uint8)
    return palette[values[:, :, 0]]


def _is_opaque(values: np.ndarray) -> bool:
    opaque = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    return bool((values[:, :, -1] == opaque).all())


def _without_opaque(values: np.ndarray, page: Any) -> np.ndarray:
    """Drop a premultiplied or unspecified channel that is opaque everywhere; refuse it otherwise."""
    reasons = [EXTRA_SAMPLES[kind] for kind in page.extrasamples if kind in EXTRA_SAMPLES]
    if not reasons:
        return values
    if values.shape[2] not in (2, 4) or not _is_opaque(values):
        raise UnsupportedError(reasons[0])
    return np.ascontiguousarray(values[:, :, :-1])


def _density(block: bytes | None, order: str) -> tuple[float, float] | None:
    """Pixels per inch stated by an EXIF block."""
    found = exif.values(block) if block else {}
    if not {282, 283} <= found.keys() or found[282][0] != 5 or found[283][0] != 5:
        return None
    (x, a), (y, b) = (np.frombuffer(found[tag][2][:8], f"{order}u4").tolist() for tag in (282, 283))
    unit = int(np.frombuffer(found[296][2][:2], f"{order}u2")[0]) if 296 in found and found[296][0] == 3 else 2
    if unit == 1 or not (x and a and y and b):
        return None
    return x / a * INCHES.get(unit, 1.0), y / b * INCHES.get(unit, 1.0)
