"""Photos of users: read and written without loss, with their metadata, or refused with a reason."""

import lzma
import struct
import tracemalloc
import zlib
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from denoiselab.imaging import decoders, exif, photos
from denoiselab.imaging.metadata import Metadata
from denoiselab.runtime.errors import UserError
from tests.conftest import photograph

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KINDS = [
    (suffix, dtype, planes)
    for suffix, dtypes in {".png": ["uint8", "uint16"], ".tif": ["uint8", "uint16", "float32"]}.items()
    for dtype in dtypes
    for planes in (1, 2, 3, 4)
]


def sample(dtype: str, planes: int) -> np.ndarray:
    """Part of a photo, (H, W, planes), using the full range of the type."""
    values = photograph()[40:101, 150:237]
    values = np.dstack([values, values[::-1, :, 0]])[:, :, [0, 3] if planes == 2 else list(range(planes))]
    if dtype == "float32":
        return (values / 300 - 0.05).astype(np.float32)
    return values * np.uint16(257) + np.arange(planes, dtype=np.uint16) if dtype == "uint16" else values


def as_photo(values: np.ndarray) -> photos.Photo:
    colours = values[:, :, : 1 if values.shape[2] < 3 else 3]
    white = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    alpha = values[:, :, -1] if values.shape[2] in (2, 4) else None
    return photos.Photo(
        (colours / white).astype(np.float32), alpha, values.dtype, white, Metadata(icc=SRGB, exif=block(1))
    )


def block(orientation: int) -> bytes:
    written = Image.Exif()
    written[exif.ORIENTATION] = orientation
    written[0x010F] = "Maker"
    written.get_ifd(0x8769)[0x829A] = 0.01  # exposure time
    return exif.strip_prefix(written.tobytes())


@pytest.mark.parametrize(("suffix", "dtype", "planes"), KINDS)
def test_every_depth_is_kept_bit_by_bit(tmp_path, suffix, dtype, planes):
    photo = as_photo(sample(dtype, planes))
    photos.write(tmp_path / f"a{suffix}", photo, photo.pixels)
    again = photos.read(tmp_path / f"a{suffix}")
    assert (again.dtype, again.white, again.metadata.icc) == (photo.dtype, photo.white, SRGB)
    assert np.array_equal(again.pixels, photo.pixels)
    assert (again.alpha is None) == (planes in (1, 3))
    assert again.alpha is None or np.array_equal(again.alpha, photo.alpha)


@pytest.mark.parametrize("planes", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_opencv_reads_the_same_16_bits(suffix, planes):
    values = sample("uint16", planes)
    content = photos.encode(as_photo(values), as_photo(values).pixels, suffix)
    seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen, values[:, :, 0] if planes == 1 else values[:, :, [2, 1, 0, 3][:planes]])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_and_profile_are_kept(suffix):
    photo = as_photo(sample("uint8", 3))
    with Image.open(BytesIO(photos.encode(photo, photo.pixels, suffix))) as written:
        assert written.info["icc_profile"] == SRGB
        assert written.getexif()[0x010F] == "Maker"
        assert float(written.getexif().get_ifd(0x8769)[0x829A]) == 0.01
        assert np.array_equal(np.asarray(written), sample("uint8", 3)) or suffix == ".jpg"
    assert (
        photos.read(photos.encode(photo, photo.pixels, suffix)).metadata.exif == photo.metadata.exif or suffix == ".tif"
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "TIFF"])
def test_orientation_is_applied_and_reset(suffix, orientation):
    stream = BytesIO()
    stored = Image.fromarray(sample("uint8", 3))
    stored.save(stream, suffix, exif=exif.PREFIX + block(orientation))
    with Image.open(stream) as stored:
        upright = ImageOps.exif_transpose(stored)
    photo = photos.read(stream.getvalue())
    assert np.array_equal(np.rint(photo.pixels * 255), np.asarray(upright))
    assert photo.metadata.exif == block(1) or suffix == "TIFF"


def xmp(orientation: int) -> bytes:
    return f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()


def xmp_image(suffix: str, orientation: int) -> bytes:
    """An image with the orientation in its XMP packet only."""
    stream, packet = BytesIO(), xmp(orientation)
    if suffix == ".tif":
        tags = [(exif.XMP, "B", len(packet), packet, True)]
        tifffile.imwrite(stream, sample("uint8", 3), photometric="rgb", metadata=None, extratags=tags)
    else:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        form, options = ("PNG", {"pnginfo": text}) if suffix == ".png" else ("JPEG", {"xmp": packet, "quality": 100})
        Image.fromarray(sample("uint8", 3)).save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_orientation_of_xmp_is_applied_once(suffix):
    photo = photos.read(xmp_image(suffix, 6))
    assert photo.pixels.shape == (87, 61, 3)
    again = photos.encode(photo, photo.pixels, suffix)
    assert photos.read(again).pixels.shape == (87, 61, 3)
    with Image.open(BytesIO(again)) as image:
        assert ImageOps.exif_transpose(image).size == (61, 87)


@pytest.mark.parametrize("orientation", [1, 6])
def test_exif_as_imagemagick_writes_it_into_png(orientation):
    stream, text, content = BytesIO(), PngImagePlugin.PngInfo(), exif.PREFIX + block(orientation)
    text.add_text("Raw profile type exif", f"\nexif\n{len(content)}\n{content.hex()}\n", zip=True)
    Image.fromarray(sample("uint8", 3)).save(stream, "PNG", pnginfo=text)
    photo = photos.read(stream.getvalue())
    assert photo.metadata.exif == block(1) and photo.pixels.shape[:2] == ((61, 87) if orientation == 1 else (87, 61))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_exif_of_either_byte_order_goes_into_tiff(order, dtype):
    """As raw converters write it, with EXIF and GPS directories."""
    made = Image.Exif()
    made.endian = order
    made[0x010F], made[0x013B] = "Maker of cameras", "Ada"
    made[0x8769] = {0x829A: 0.01, 0x927C: b"maker's own note"}
    made[0x8825] = {1: "N", 2: (48.0, 51.0, 29.6)}
    photo = replace(as_photo(sample(dtype, 3)), metadata=Metadata(SRGB, exif.strip_prefix(made.tobytes())))
    content = photos.encode(photo, photo.pixels, ".tif")
    with tifffile.TiffFile(BytesIO(content)) as tiff:
        assert tiff.byteorder == order
        assert tiff.pages.first.tags["Make"].value == "Maker of cameras"
        assert tiff.pages.first.tags["ExifTag"].value["MakerNote"] == b"maker's own note"
        assert tiff.pages.first.tags["GPSTag"].value["GPSLatitudeRef"] == "N"
    again = photos.read(content)
    assert np.array_equal(again.pixels, photo.pixels) and again.metadata.icc == SRGB
    kept = Image.Exif()
    kept.load(again.metadata.exif)
    assert kept[0x013B] == "Ada" and kept.get_ifd(0x8825)[2] == (48.0, 51.0, 29.6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_metadata_of_bigtiff_is_kept(order):
    """As stitching programs write it, with an EXIF directory."""
    stream = BytesIO()
    options = {"bigtiff": True, "byteorder": order, "metadata": None, "software": "x", "resolution": (300, 300)}
    maker = (271, "s", 0, "Maker of scanners", True)
    tifffile.imwrite(stream, sample("uint8", 3), photometric="rgb", extratags=[maker], **options)
    large = with_directory(stream.getvalue(), order)
    photo = photos.read(large)
    for suffix in (".tif", ".png", ".jpg"):
        with Image.open(BytesIO(photos.encode(photo, photo.pixels, suffix))) as written:
            assert written.getexif()[271] == "Maker of scanners" and written.getexif()[282] == 300
            assert written.getexif().get_ifd(0x8769)[0x829A] == 0.01, suffix


def with_directory(content: bytes, order: str) -> bytes:
    """Turn the first field 305 of a BigTIFF file into an EXIF directory: exposure time 1/100 s."""
    tag = content.index(struct.pack(f"{order}HHQ", 305, 2, 2))
    field = struct.pack(f"{order}HHQQ", 0x8769, 18, 1, len(content))
    inside = struct.pack(f"{order}QHHQIIQ", 1, 0x829A, 5, 1, 1, 100, 0)
    return content[:tag] + field + content[tag + 20 :] + inside


def test_the_old_thumbnail_is_dropped():
    """It shows the photo before denoising, and not upright."""
    small, whole = BytesIO(), BytesIO()
    Image.fromarray(sample("uint8", 3)).resize((16, 12)).save(small, "JPEG")
    first = block(6)
    at = 8 + 2 + 12 * struct.unpack_from(">H", first, 8)[0]
    where = len(first) + 2 + 2 * 12 + 4
    ifd1 = struct.pack(">HHHIIHHIII", 2, 0x201, 4, 1, where, 0x202, 4, 1, len(small.getvalue()), 0)
    made = first[:at] + struct.pack(">I", len(first)) + first[at + 4 :] + ifd1 + small.getvalue()
    Image.fromarray(sample("uint8", 3)).save(whole, "JPEG", exif=exif.PREFIX + made)

    def thumbnail(content: bytes) -> bytes | None:
        with Image.open(BytesIO(content)) as image:
            return image.getexif().get_ifd(ExifTags.IFD.IFD1).get(0x201)

    assert thumbnail(whole.getvalue()) == where
    photo = photos.read(whole.getvalue())
    written = photos.encode(photo, photo.pixels, ".jpg")
    assert thumbnail(written) is None
    with Image.open(BytesIO(written)) as image:
        assert image.getexif()[exif.ORIENTATION] == 1 and image.getexif().get_ifd(0x8769)[0x829A] == 0.01


@pytest.mark.parametrize("length", range(0, 200, 7))
def test_damaged_exif_raises_nothing(length):
    cut = block(6)[:length]
    assert len(exif.reset_orientation(cut)) == len(cut) and 1 <= exif.orientation(cut) <= 8
    assert exif.from_tiff(cut) == b"" or len(exif.from_tiff(cut)) > 8


def test_jpeg_is_close():
    photo = as_photo(sample("uint8", 3))
    again = photos.read(photos.encode(photo, photo.pixels, ".jpg"))
    assert 255 * np.abs(again.pixels - photo.pixels).mean() < 3


@pytest.mark.parametrize("compression", [1, 5, 8, 32946])  # none, LZW, both kinds of Deflate
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("planes", [1, 3])
def test_compressions_of_tiff(compression, dtype, planes):
    values = sample(dtype, planes)
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    _, content = cv2.imencode(".tif", values[:, :, ::-1] if planes == 3 else values, options)
    again = photos.read(content.tobytes())
    assert again.dtype == values.dtype
    assert np.array_equal(again.pixels, as_photo(values).pixels)


TIFFS = [  # compression, type, channels, planar configuration: by tifffile's writer or ours for LZW
    (compression, dtype, planes, planar)
    for compression in ("none", "lzw", "zlib", "packbits", "zstd", "lzma")
    for dtype, planes, planar in [
        *(("uint16", 3, 2), ("float32", 4, 2), ("uint8", 2, 2), ("uint16", 2, 1), ("float64", 1, 1), ("float16", 1, 1)),
        *(("uint16", 1, 1), ("float32", 3, 1), ("int16", 1, 1), ("uint32", 1, 1)),
    ]
]


@pytest.mark.parametrize(("compression", "dtype", "planes", "planar"), TIFFS)
def test_pixels_of_tiff_are_those_that_were_written(compression, dtype, planes, planar):
    """Three times, as a decoder that reads beyond its buffer gives other values each time."""
    values = (sample("uint8", planes) * np.array(1 / 300 if "float" in dtype else 100)).astype(dtype)
    for order, predictor in (("<", 1), (">", 1), ("<", 2), (">", 3 if "float" in dtype else 2)):
        content = written(values, compression, planar, order, predictor)
        for _ in range(3):
            with BytesIO(content) as stream:
                again = decoders.decode(stream, photos.MAX_PIXELS)
            assert again.values.dtype == dtype and np.array_equal(again.values, values), (order, predictor)


def written(values: np.ndarray, compression: str, planar: int, order: str, predictor: int) -> bytes:
    """A TIFF file in strips of 25 rows, written from the specification."""
    height, width, planes = values.shape
    code = {"none": 1, "lzw": 5, "zlib": 8, "packbits": 32773, "zstd": 50000, "lzma": 34925}[compression]
    parts = [values] if planar == 1 else [values[:, :, n : n + 1] for n in range(planes)]
    strips = []
    for part in parts:
        for top in range(0, height, 25):
            strip = np.ascontiguousarray(part[top : top + 25])
            if predictor == 2:
                whole = strip.view(f"u{strip.itemsize}")
                strip = np.concatenate([whole[:, :1], np.diff(whole, axis=1)], axis=1).astype(whole.dtype)
            raw = strip.astype(strip.dtype.newbyteorder(order)).tobytes()
            if predictor == 3:
                by_byte = strip.astype(strip.dtype.newbyteorder(">")).view(np.uint8)
                by_byte = by_byte.reshape(len(strip), -1, strip.itemsize).swapaxes(1, 2)
                by_byte = by_byte.reshape(len(strip), -1, strip.shape[2])
                raw = np.concatenate([by_byte[:, :1], np.diff(by_byte, axis=1)], axis=1).tobytes()
            strips.append(compressed(compression, raw))
    at, offsets = 8, []
    for strip in strips:
        offsets.append(at)
        at += len(strip)
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    fields = {256: [width], 257: [height], 258: [8 * values.itemsize] * planes, 259: [code]}
    fields |= {262: [2 if planes > 2 else 1], 273: offsets, 277: [planes], 278: [25]}
    fields |= {279: [len(strip) for strip in strips], 284: [planar], 317: [predictor], 339: [kind] * planes}
    fields |= {338: [2]} if planes in (2, 4) else {}
    rows, behind, start = b"", b"", at + 2 + 12 * len(fields) + 4
    for tag, numbers in sorted(fields.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(data) > 4:
            data, behind = struct.pack(f"{order}I", start + len(behind)), behind + data
        rows += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + data
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    return head + b"".join(strips) + struct.pack(f"{order}H", len(fields)) + rows + bytes(4) + behind


def compressed(compression: str, raw: bytes) -> bytes:
    if compression in ("none", "zlib", "lzma"):
        return {"none": bytes, "zlib": zlib.compress, "lzma": lzma.compress}[compression](raw)
    stream = BytesIO()
    row = Image.fromarray(np.frombuffer(raw, np.uint8)[None])
    row.save(stream, "TIFF", compression="tiff_lzw" if compression == "lzw" else compression)
    with tifffile.TiffFile(BytesIO(stream.getvalue())) as tiff:
        (at,), (size,) = tiff.pages.first.dataoffsets, tiff.pages.first.databytecounts
    return stream.getvalue()[at : at + size]


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
def test_packed_bits_are_scaled_to_full_range(bits):
    values = (sample("uint16", 1)[:, :, 0] >> (16 - bits))[:, :83]
    planes = [(values >> bit & 1).astype(np.uint8) for bit in range(bits)[::-1]]
    packed = np.packbits(np.stack(planes, axis=2).reshape(len(values), -1), axis=1)
    stream = BytesIO()
    tifffile.imwrite(stream, packed, photometric="minisblack", metadata=None, rowsperstrip=len(packed))
    photo = photos.read(patched(stream.getvalue(), width=83, bits=bits))
    highest = 255 if bits <= 8 else 65535
    assert photo.dtype == (np.uint8 if bits <= 8 else np.uint16) and photo.white == highest
    np.testing.assert_allclose(photo.pixels[:, :, 0], values / (2**bits - 1), atol=0.5 / highest)


def test_float_above_one_is_scaled_and_scaled_back():
    values = sample("float32", 1) * 4000
    stream = BytesIO()
    tifffile.imwrite(stream, values)
    photo = photos.read(stream.getvalue())
    assert photo.white == values.max()
    assert photo.pixels.max() == 1
    again = photos.read(photos.encode(photo, photo.pixels, ".tif"))
    np.testing.assert_allclose(again.pixels * again.white, values[:, :, :1], rtol=1e-6)


def test_noise_above_white_does_not_darken_a_float_photo():
    values = sample("float32", 3)
    noisy = values + np.random.default_rng(0).normal(0, 0.2, values.shape).astype(np.float32)
    stream = BytesIO()
    tifffile.imwrite(stream, noisy, photometric="rgb")
    assert noisy.max() > 1.3
    np.testing.assert_array_equal(photos.read(stream.getvalue()).pixels, noisy)


@pytest.mark.parametrize("sigma_255", [25, 255])
def test_noise_below_black_is_accepted(sigma_255):
    dark = np.random.default_rng(0).normal(0, sigma_255 / 255, (200, 300)).astype(np.float32)
    stream = BytesIO()
    tifffile.imwrite(stream, dark)
    np.testing.assert_array_equal(photos.read(stream.getvalue(), white=1.0).pixels[:, :, 0], dark)


@pytest.mark.parametrize(
    ("dtype", "scale", "black"),
    [("float32", 2, -1), ("float32", 1500, -1024), ("int16", 3000, -1024), ("int8", 255, -128), ("uint32", 4e9, 0)],
)
def test_the_lowest_value_is_black_where_values_are_negative(dtype, scale, black):
    """[-1, 1], CT units; written back as they were."""
    values = (sample("uint8", 1)[:, :, 0] / 255 * scale + black).astype(dtype)
    stream = BytesIO()
    tifffile.imwrite(stream, values)
    photo = photos.read(stream.getvalue())
    assert photo.black == min(values.min(), 0) and 0 <= photo.pixels.min() < 0.2 and photo.pixels.max() <= 1
    again = tifffile.imread(BytesIO(photos.encode(photo, photo.pixels, ".tif")))
    assert again.dtype == dtype
    np.testing.assert_allclose(again.astype(float), values.astype(float), rtol=1e-6, atol=1e-3 if scale < 2e9 else 300)


def test_pixels_at_the_depth_of_a_file_with_negative_values_are_those_of_the_file():
    values = np.arange(-1000, 3096, dtype=np.int16).reshape(64, 64)
    stream = BytesIO()
    tifffile.imwrite(stream, values)
    photo = photos.read(stream.getvalue())
    np.testing.assert_allclose(photos.at_depth(photo, photo.pixels), photo.pixels, atol=1e-6)


@pytest.mark.parametrize(("dtype", "white"), [("int8", None), ("int16", None), ("uint8", 300), ("uint16", 70000)])
def test_highlights_that_exceed_the_type_do_not_wrap_around(dtype, white):
    """White may be above the type's largest value."""
    top = np.iinfo(dtype).max
    values = np.full((32, 32), top // 2, dtype)
    values[8:24, 8:24] = top
    stream = BytesIO()
    tifffile.imwrite(stream, values)
    photo = photos.read(stream.getvalue(), white=white)
    again = tifffile.imread(BytesIO(photos.encode(photo, photo.pixels * np.float32(1.01), ".tif")))
    assert again[16, 16] == top and abs(int(again[0, 0]) - top // 2) <= 0.01 * top


def test_many_channels_count_against_the_limit_before_they_are_decoded():
    stream = BytesIO()
    values = np.zeros((400, 256, 256), np.uint8)
    tifffile.imwrite(stream, np.moveaxis(values, 0, 2), photometric="minisblack", planarconfig="contig", compression=8)
    content = stream.getvalue()
    assert len(content) < 200_000 and photos.size(content) == 256 * 256 * 100
    tracemalloc.start()
    with pytest.raises(UserError, match="256x256 pixels of 400 channels are too many; the limit is 1 megapixels"):
        photos.read(content, max_pixels=1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif"])
@pytest.mark.parametrize("dpi", [0.001, 300, 254_000, 3e9])
def test_a_resolution_is_kept_or_named(suffix, dpi):
    """Of a satellite, a scanner, a microscope, an electron microscope."""
    stream = BytesIO()
    density = (np.uint32(1000 * dpi), np.uint32(1000)) if dpi < 1e6 else (np.uint32(dpi), np.uint32(1))
    tifffile.imwrite(stream, sample("uint8", 3), photometric="rgb", resolution=(density, density), resolutionunit=2)
    photo = photos.read(stream.getvalue())
    again = photos.read(photos.encode(photo, photo.pixels, suffix))
    kept = again.metadata.density is not None and again.metadata.density[0] == pytest.approx(dpi, rel=0.01)
    in_exif = again.metadata.exif is not None and 282 in exif.tags(again.metadata.exif)
    assert ("resolution" in photos.dropped(photo, suffix)) != (kept or in_exif)


@pytest.mark.parametrize("no_data", [np.nan, np.inf, -9999.0, -32768.0, np.finfo(np.float32).min, np.float32(1e20)])
def test_missing_pixels_are_filled_and_kept(no_data):
    values = sample("float32", 1)[:, :, 0].copy()
    values[:20], values[40, 30:60] = no_data, no_data
    stream = BytesIO()
    tags = [(42113, "s", 0, "-9999", True)] if no_data == -9999 else []
    tifffile.imwrite(stream, values, extratags=tags, metadata=None)
    photo = photos.read(stream.getvalue())
    assert np.isfinite(photo.pixels).all()
    assert abs(photo.pixels[40, 30:60] - photo.pixels[41, 30:60]).mean() < 0.1, "like the pixels around"
    again = tifffile.imread(BytesIO(photos.encode(photo, photo.pixels / 2, ".tif")))
    missing = ~np.isfinite(values) | (values == no_data)
    assert np.array_equal(again[missing], values[missing], equal_nan=True)
    np.testing.assert_allclose(again[~missing], values[~missing] / 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_dead_pixels_and_fill_values_do_not_set_black(dtype):
    """Single low values are outliers, many equal ones are missing; but not in an image of two values."""
    usual = sample("uint8", 1)[:, :, 0].astype(dtype)
    dead, filled = usual.copy(), usual.copy()
    dead[20, 30], filled[5:15] = -3000, -2000
    for values, fill in ((dead, None), (filled, -2000), (np.where(usual > 100, 1, -1).astype(dtype), None)):
        stream = BytesIO()
        tifffile.imwrite(stream, values / np.float32(255) if dtype == "float32" else values)
        photo = photos.read(stream.getvalue())
        assert photo.fill == (fill if fill is None or dtype == "int16" else np.float32(fill) / 255)
        assert values.min() == -1 or (-1 <= photo.black <= 0 and ("no-data" in photo.white_in_words) == bool(fill))
        again = tifffile.imread(BytesIO(photos.encode(photo, photo.pixels, ".tif")))
        np.testing.assert_allclose(again, tifffile.imread(BytesIO(stream.getvalue())), rtol=1e-5, atol=1e-5)


def test_a_channel_of_unknown_meaning_is_not_transparency():
    stream = BytesIO()
    tifffile.imwrite(
        stream, sample("uint16", 4), photometric="rgb", extrasamples=["unspecified"], planarconfig="contig"
    )
    with pytest.raises(UserError, match="a channel besides its colours"):
        photos.read(stream.getvalue())


@pytest.mark.parametrize(("bits", "white"), [(12, 4095), (10, 1023), (16, 65535)])
def test_white_of_a_camera_is_guessed_from_its_values(bits, white):
    values = sample("uint16", 1)[:, :, 0] >> (16 - bits)
    stream = BytesIO()
    tifffile.imwrite(stream, values)
    photo = photos.read(stream.getvalue())
    assert photo.white == white and photo.dtype == np.uint16
    np.testing.assert_allclose(photo.pixels[:, :, 0], values / white, rtol=1e-6)
    content = photos.encode(photo, photo.pixels, ".tif")
    assert np.array_equal(tifffile.imread(BytesIO(content)), values)
    brighter = tifffile.imread(BytesIO(photos.encode(photo, photo.pixels + 0.5, ".tif")))
    assert brighter.max() == white, "clips as the camera does"
    told = photos.read(stream.getvalue(), white=white / 8)
    assert told.pixels.max() > 1
    assert np.array_equal(tifffile.imread(BytesIO(photos.encode(told, told.pixels, ".tif"))), values)


def test_palettes_and_transparent_colours():
    colours = Image.fromarray(sample("uint8", 3))
    stream = BytesIO()
    colours.quantize(64).save(stream, "PNG", transparency=3)
    photo = photos.read(stream.getvalue())
    assert photo.pixels.shape == (61, 87, 3)
    assert photo.alpha is not None and set(np.unique(photo.alpha)) == {0, 255}


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_tiff_of_four_bits(white_is_zero):
    values = sample("uint8", 1)[:, :86, 0] >> 4
    stored = 15 - values if white_is_zero else values
    stream = BytesIO()
    tifffile.imwrite(stream, stored[:, ::2] << 4 | stored[:, 1::2], photometric="minisblack", metadata=None)
    content = patched(stream.getvalue(), width=86, bits=4, photometric=0 if white_is_zero else 1)
    assert np.array_equal(photos.read(content).pixels[:, :, 0], (values * 17 / 255).astype(np.float32))


def test_inverted_gray_tiff():
    stream, values = BytesIO(), sample("uint8", 1)[:, :, 0]
    tifffile.imwrite(stream, 255 - values, photometric="miniswhite")
    assert np.array_equal(photos.read(stream.getvalue()).pixels[:, :, 0], (values / 255).astype(np.float32))


def test_unreadable_files_are_refused_in_one_line(tmp_path):
    image = Image.fromarray(sample("uint8", 3))

    def saved(form: str, photo: Image.Image = image, **options) -> bytes:
        stream = BytesIO()
        photo.save(stream, form, **options)
        return stream.getvalue()

    def tiff(values: np.ndarray, **options) -> bytes:
        stream = BytesIO()
        tifffile.imwrite(stream, values, **options)
        return stream.getvalue()

    whole, deep = (
        saved("PNG"),
        photos.encode(as_photo(sample("uint16", 3)), as_photo(sample("uint16", 3)).pixels, ".png"),
    )
    bad = {
        "empty": (b"", "the file is empty"),
        "text": (b"hello", "not an image"),
        "cut.png": (whole[: len(whole) // 2], "damaged image"),
        "cut16.png": (deep[: len(deep) // 2], "damaged image"),
        "cut.tif": (tiff(sample("uint16", 3))[:2000], "damaged image"),
        "cmyk.jpg": (
            saved("JPEG", image.convert("CMYK")),
            "is CMYK without a colour profile; convert it",
        ),
        "cmyk.tif": (saved("TIFF", image.convert("CMYK")), "is CMYK without"),
        "cmyk16.tif": (tiff(sample("uint16", 4), photometric="separated"), "16-bit unsigned pixels of this colour"),
        "five.tif": (tiff(np.zeros((20, 30, 5), np.uint8), photometric="separated"), "models of 5 channels are not"),
        "film.webp": (saved("WEBP", save_all=True, append_images=[image.rotate(90)]), "animation of 2 frames; split"),
        "film.png": (saved("PNG", save_all=True, append_images=[image.rotate(90)]), "animation of 2 frames; split"),
        "film.gif": (saved("GIF", save_all=True, append_images=[image.rotate(90)]), "animation of 2 frames; split"),
        "pages.tif": (tiff(np.zeros((3, 20, 30), np.uint8), photometric="minisblack"), "3 images; only denoise"),
        "none.tif": (b"II*\0" + bytes(100), "damaged image: there is no image in it"),
        "complex.tif": (tiff(np.zeros((20, 30), np.complex64)), "64-bit complex or undefined pixels"),
        "nan.tif": (tiff(np.full((20, 30), np.nan, np.float32)), "no values that are finite"),
        "large.png": (whole, "too many"),
    }
    for name, (content, reason) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=reason) as error:
            photos.read(tmp_path / name, max_pixels=1000 if name == "large.png" else photos.MAX_PIXELS)
        assert str(error.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"none\.png: there is no such file"):
        photos.read(tmp_path / "none.png")
    with pytest.raises(UserError, match=r"upload\.png: not an image"):
        photos.read(b"hello", name="upload.png")


@pytest.mark.parametrize("tags", [{"bytes": 0}, {"height": 1_000_000}])
def test_missing_tiles_of_tiff_are_not_black(tags):
    stream = BytesIO()
    tifffile.imwrite(stream, sample("uint8", 1)[:48, :80, 0], tile=(48, 80), metadata=None)
    with pytest.raises(UserError, match="damaged image: the data of some pixels are missing"):
        photos.read(patched(stream.getvalue(), **tags))


def patched(content: bytes, **tags: int) -> bytes:
    """A little-endian TIFF file with other values in its header."""
    numbers = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "rows": 278}
    numbers |= {"bytes": 325, "tile_width": 322, "tile_height": 323}
    changed = bytearray(content)
    (first,) = struct.unpack_from("<I", content, 4)
    for name, value in tags.items():
        fields = range(first + 2, first + 2 + 12 * struct.unpack_from("<H", content, first)[0], 12)
        (at,) = (at for at in fields if struct.unpack_from("<H", content, at)[0] == numbers[name])
        struct.pack_into("<HII", changed, at + 2, 4, 1, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("options", "tags", "reason"),
    [
        ({"rowsperstrip": 4000}, {"height": 10, "rows": 10}, "holds more pixels than its header says"),
        (
            {"tile": (4000, 1008)},
            {"tile_width": 16, "tile_height": 16, "height": 10},
            "data of some pixels are missing",
        ),
        (
            {"tile": (16, 16)},
            {"tile_width": 1 << 20, "tile_height": 1 << 20},
            "tiles of 1048576x1048576 pixels are too",
        ),
        (
            {"tile": (16, 16)},
            {"photometric": 3, "tile_width": 1 << 20, "tile_height": 1 << 20},
            "tiles of 1048576x1048576 pixels are too",
        ),
        ({}, {"compression": 34887}, "LERC compression is not supported"),
        ({}, {"width": 100_000, "height": 100_000}, "100000x100000 pixels are too many"),
    ],
)
def test_a_tiff_bomb_takes_little_memory(options, tags, reason):
    """4 MB of zeros compressed to a few kB; the header states less or more."""
    stream = BytesIO()
    tifffile.imwrite(stream, np.zeros((4000, 1000), np.uint8), compression="zlib", metadata=None, **options)
    bomb = patched(stream.getvalue(), **tags)
    assert len(bomb) < 500_000 and photos.read(stream.getvalue()).pixels.shape == (4000, 1000, 1)
    tracemalloc.start()
    with pytest.raises(UserError, match=reason):
        photos.read(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    refused = [
        (as_photo(sample("uint16", 3)), ".jpg", "16-bit"),
        (as_photo(sample("float32", 3)), ".png", "float"),
        (as_photo(sample("uint8", 4)), ".jpg", "transparency"),
        (as_photo(sample("uint8", 3)), ".gif", "cannot write .gif; choose from: .png"),
    ]
    for photo, suffix, reason in refused:
        with pytest.raises(UserError, match=reason):
            photos.write(tmp_path / f"a{suffix}", photo, photo.pixels)
    photo = as_photo(sample("uint8", 3))
    with pytest.raises(UserError, match="not finite"):
        photos.write(tmp_path / "a.png", photo, photo.pixels * np.nan)
    with pytest.raises(UserError, match="shape"):
        photos.write(tmp_path / "a.png", photo, photo.pixels[:, :, :1])
    assert not list(tmp_path.iterdir())


def test_only_integers_are_clipped_and_rounded():
    photo = as_photo(sample("uint8", 1))
    beyond = photo.pixels * 3 - 1
    again = photos.read(photos.encode(photo, beyond, ".png"))
    assert np.array_equal(again.pixels * 255, np.rint(np.clip(beyond, 0, 1) * 255))
    deep = replace(as_photo(sample("float32", 1)), metadata=Metadata())
    assert np.array_equal(tifffile.imread(BytesIO(photos.encode(deep, beyond, ".tif"))), beyond[:, :, 0])
