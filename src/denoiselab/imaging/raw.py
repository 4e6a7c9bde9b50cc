"""Develop camera raw files (DNG, NEF, CR2, CR3, ARW and others) with LibRaw, by the optional package rawpy."""

from typing import Any, BinaryIO

import numpy as np
from PIL import ImageCms

from denoiselab.imaging import exif
from denoiselab.imaging.decoded import Decoded, check_size
from denoiselab.imaging.metadata import Metadata
from denoiselab.runtime.errors import UnsupportedError

# First bytes of those that are not TIFF files: CR3, RAF, ORF, RW2.
SIGNATURES = (b"\0\0\0\x18ftypcrx ", b"FUJIFILMCCD-RAW ", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
LIKE_TIFF = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # TIFF but for these bytes
HEAD = max(map(len, SIGNATURES))
SRGB = (2.4, 12.92)  # power and slope of its transfer function
NEEDED = "is a camera raw file; to read it: pip install 'denoiselab[raw]', or develop it to 16-bit TIFF"


class RawError(UnsupportedError):
    """A TIFF file is a camera raw file."""


def is_raw(head: bytes) -> bool:
    """Whether a file that is not TIFF begins like a camera raw file."""
    return head.startswith(SIGNATURES)


def size(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the developed image, before it is turned. UnsupportedError: rawpy is missing."""
    with _opened(stream) as image:
        return image.sizes.width, image.sizes.height


def decode(stream: BinaryIO, max_pixels: int, *, linear: bool = False) -> Decoded:
    """(H, W, 3) uint16 with the camera's white balance in sRGB, upright, without automatic brightness.

    `linear`: without sRGB's transfer function, for a program that goes on from there. UnsupportedError: rawpy is
    missing, or more than `max_pixels`; other errors: damaged. EXIF and XMP are those of files like TIFF; of others,
    such as CR3 and RAF, EXIF is named as lost.
    """
    with _opened(stream) as image:
        check_size(image.sizes.width, image.sizes.height, max_pixels)
        values: np.ndarray = image.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0,  # else white depends on the brightest pixel
            output_bps=16,
            gamma=(1, 1) if linear else SRGB,
        )
    stream.seek(0)
    content = stream.read()
    if content.startswith(LIKE_TIFF):
        content = (b"II*\0" if content[:1] == b"I" else b"MM\0*") + content[4:]
    block = exif.from_tiff(content)
    packet = exif.values(exif.others(content)[0]).get(exif.XMP, (0, 0, b""))[2]
    profile = None if linear else ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    about = Metadata(profile, block or None, exif.reset_xmp(packet) or None, lost=() if block else ("EXIF",))
    return Decoded(values, about)


def _opened(stream: BinaryIO) -> Any:
    try:
        import rawpy
    except ImportError:
        raise UnsupportedError(NEEDED) from None
    stream.seek(0)
    try:
        return rawpy.imread(stream)
    except rawpy.LibRawFileUnsupportedError:
        raise UnsupportedError("is a camera raw file that LibRaw does not know, or has only a thumbnail") from None
