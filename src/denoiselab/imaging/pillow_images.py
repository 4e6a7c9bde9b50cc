"""Read PNG, JPEG, WebP, BMP, GIF, AVIF, JPEG 2000 and, with pillow-heif, HEIC, by Pillow; 16-bit colour by OpenCV."""

from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageFile

from denoiselab.imaging import metadata
from denoiselab.imaging.decoded import UPRIGHT, Decoded, check_size, limit
from denoiselab.runtime.errors import UnsupportedError, UserError

# Others are left out: Pillow would run programs for some, such as PostScript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000")
HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # brands
JP2, CODESTREAM = b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"  # first bytes of JPEG 2000
SEVERAL = ("MPO", "HEIF")  # phones' photos, with depth map, preview or burst
FRAMES = "ffmpeg -i IN frame%04d.png"
CONVERT = "magick IN -colorspace sRGB OUT.png"


def opened(stream: BinaryIO, max_pixels: int) -> ImageFile.ImageFile:
    """Open an image without decoding it; `max_pixels` is for messages. UnsupportedError: too many for Pillow."""
    head = stream.read(12)
    stream.seek(0)
    try:
        return Image.open(stream, formats=[*FORMATS, *_heif(head)])
    except Image.DecompressionBombError:
        raise UnsupportedError(f"too many pixels to be safe to decode; {limit(max_pixels)}") from None


def decode(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a file. UnsupportedError: an animation, more than `max_pixels`, or an unsupported colour model."""
    with opened(stream, max_pixels) as image:
        check_size(*image.size, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format not in SEVERAL:
            raise UnsupportedError(f"is an animation of {frames} frames; split it first: {FRAMES}")
        image.load()
        depth = _depth(image, stream)
        if image.format == "PNG" and image.mode == "L" and isinstance(gray := image.info.get("transparency"), int):
            image.info["transparency"] = gray * (255 // ((1 << min(depth, 8)) - 1))  # Pillow scales the pixels only
        pixels, lost = (_deep(image, stream), list[str]()) if depth == 16 else values(image)
        if depth > 8 and pixels.dtype == np.uint8:
            lost = [*lost, f"depth of {depth} bits (read as 8)"]
        if image.format == "BMP" and pixels.shape[2] == 4 and pixels[:, :, 3].min() == 255:
            pixels = pixels[:, :, :3]
        about, orientation = metadata.of_pillow(image, stream)
        if image.mode == "CMYK":
            about = replace(about, icc=None)
        about = replace(about, lost=(*about.lost, *lost))
        return Decoded(np.ascontiguousarray(UPRIGHT[orientation](pixels)), about)


def values(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """(H, W, N) uint8, or (H, W, 1) uint16, of a loaded image, and the names of what was lost."""
    lost = []
    if image.mode == "CMYK":
        image, lost = _srgb(image), ["CMYK (converted to sRGB)"]
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode in ("1", "L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    elif image.mode in ("1", "YCbCr"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I;16", "I;16B"):
        raise UnsupportedError(f"colour mode {image.mode} is not supported; convert it first: {CONVERT}")
    found = np.asarray(image)
    found = found if image.mode[0] != "I" else found.astype(np.uint16, copy=False)
    return found if found.ndim == 3 else found[:, :, None], lost


def _heif(head: bytes) -> list[str]:
    """The format's name for Pillow, if the file is HEIC."""
    if head[4:8] != b"ftyp" or head[8:12] not in HEIF:
        return []
    try:
        import pillow_heif
    except ImportError:
        raise UnsupportedError("is HEIC; to read it: pip install 'denoiselab[heic]'") from None
    pillow_heif.register_heif_opener()
    return ["HEIF"]


def _srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile:
        raise UnsupportedError(f"is CMYK without a colour profile; convert it first: {CONVERT}")
    try:
        source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise UnsupportedError(f"is CMYK with an unusable profile ({error}); convert it first: {CONVERT}") from None
    assert converted is not None
    return converted


def _depth(image: Image.Image, stream: BinaryIO) -> int:
    """Bits per value."""
    stream.seek(0)
    head = stream.read(1 << 16)
    stream.seek(0)
    if image.format == "PNG":
        return head[24]
    if image.format == "JPEG2000" and (at := head.find(CODESTREAM)) >= 0 and at + 42 < len(head):
        bits = (head[at + 42] & 127) + 1
        return bits if bits <= 8 else 16
    if image.format == "AVIF" and (at := head.find(b"av1C")) >= 0 and at + 6 < len(head):
        flags = head[at + 6]
        return 12 if flags & 0x20 else 10 if flags & 0x40 else 8
    return int(image.info.get("bit_depth", 8))


def _deep(image: Image.Image, stream: BinaryIO) -> np.ndarray:
    """(H, W, N) uint16: by OpenCV, unless it is gray, as Pillow reduces others to 8 bits."""
    transparent = image.info.get("transparency")
    if image.mode in ("I;16", "I;16B", "I"):
        found = np.asarray(image).astype(np.uint16)[:, :, None]
        return found if not isinstance(transparent, int) else _with_alpha(found, transparent)
    found = _by_opencv(stream)
    if image.format == "PNG" and _is_gray(stream) and found.shape[2] == 4:
        return found[:, :, [0, 3]]
    return _with_alpha(found[:, :, :3], transparent) if isinstance(transparent, tuple) else found


def _is_gray(stream: BinaryIO) -> bool:
    """Whether a PNG's colour type is gray, with or without alpha."""
    stream.seek(25)
    return stream.read(1) in (b"\0", b"\4")


def _with_alpha(colours: np.ndarray, transparent: Any) -> np.ndarray:
    """With an alpha channel that is 0 where all channels are `transparent`."""
    alpha = np.where((colours == np.array(transparent, np.uint16)).all(axis=2, keepdims=True), 0, 65535)
    return np.concatenate([colours, alpha.astype(np.uint16)], axis=2)


def _by_opencv(stream: BinaryIO) -> np.ndarray:
    """(H, W, N) uint16, RGB."""
    import cv2

    stream.seek(0)
    found = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:
        raise UserError("its pixels cannot be decoded")
    found = found if found.ndim == 3 else found[:, :, None]
    return found if found.shape[2] < 3 else found[:, :, [2, 1, 0, 3][: found.shape[2]]]
