"""The table in docs/images.md: each cell is what happens."""

import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from denoiselab.imaging import boxes, decoders, encoders, exif, metadata, photos, stacks
from denoiselab.imaging.metadata import Metadata
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, photograph

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DEPTHS = {
    "8 bits": ["uint8"],
    "16 bits": ["uint16"],
    "32 bits, signed": ["uint32", "int8", "int16", "int32"],
    "float": ["float16", "float32", "float64"],
}
LOSSY = {"jpg": 4, "avif": 4}  # mean error of 255
IPTC = b"\x1c\2\x50\0\7Unknown\x1c\2\x69\0\4News"
GAMMA = (b"gAMA", struct.pack(">I", 100000))


def exif_block() -> bytes:
    made = Image.Exif()
    made[0x010F] = "Maker"
    return exif.strip_prefix(made.tobytes())


WHITE_POINT = exif.with_values(b"", {318: (5, 2, struct.pack("<4I", 31270, 100000, 32900, 100000))})
ABOUT = {  # one of each kind, by column
    "profile": Metadata(icc=SRGB),
    "EXIF": Metadata(exif=exif_block()),
    "XMP": Metadata(xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>caf\xc3\xa9</x:xmpmeta>"),
    "IPTC": Metadata(photoshop=metadata.resource(metadata.IPTC, IPTC)),
    "resolution": Metadata(density=(300.0, 150.0)),
    "comment": Metadata(comment=b"a comment"),
    "PNG chunks": Metadata(chunks=(GAMMA, (b"tEXt", b"Author\0Ada"), (b"cICP", bytes([9, 16, 0, 1])))),
    "JPEG segments": Metadata(segments=(("APP11", b"JP\0\1box"),)),
    "TIFF tags": Metadata(tags=WHITE_POINT),
}
NAMES = {"profile": "colour profile", "PNG chunks": "gAMA", "JPEG segments": "APP11", "TIFF tags": "WhitePoint"}


def tables() -> Iterator[list[list[str]]]:
    """The rows of each table on the page, with its header."""
    for part in (ROOT / "docs/images.md").read_text(encoding="utf-8").split("\n\n"):
        if part.startswith("|"):
            header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
            yield [header, *rows]


def cells(header: list[str], *rows: list[str]) -> list[tuple[str, str, str]]:
    """(format, column, cell)."""
    return [(form, column, value) for form, *values in rows for column, value in zip(header[1:], values, strict=True)]


CELLS, READ_ONLY = (cells(*table) for table in tables())


def pixels(dtype: str = "uint8", planes: int = 3) -> np.ndarray:
    """Part of a photo, (48, 64, planes), in the range of the type."""
    values = photograph()[40:88, 150:214]
    values = np.dstack([values, values[::-1, :, 0]])[:, :, [0, 3] if planes == 2 else list(range(planes))]
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (values / 255).astype(kind)
    low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    return (values / 255 * (high - low) + low).astype(kind)


def photo_of(values: np.ndarray, about: Metadata = metadata.NOTHING) -> photos.Photo:
    stream = BytesIO()
    colours = values.shape[2] > 2
    tifffile.imwrite(
        stream,
        values if values.shape[2] > 1 else values[:, :, 0],
        photometric="rgb" if colours else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if values.shape[2] in (2, 4) else None,
        metadata=None,
        software=False,
    )
    return replace(photos.read(stream.getvalue()), metadata=about)


def test_the_table_has_every_format():
    listed = {form for form, *_ in CELLS}
    assert {id(encoders.FORMATS[f".{form}"]) for form in listed} == {id(form) for form in encoders.FORMATS.values()}


@pytest.mark.parametrize(("form", "column", "cell"), CELLS, ids=[f"{form}-{column}" for form, column, _ in CELLS])
def test_each_cell(tmp_path, form, column, cell):
    suffix = f".{form}"
    if column in ABOUT:
        photo = photo_of(pixels(), ABOUT[column])
        name = NAMES.get(column, column)
        assert (name in photos.dropped(photo, suffix)) == (cell == "named")
        again = photos.read(photos.encode(photo, photo.pixels, suffix)).metadata
        kind = next(kind for kind in metadata.KINDS if getattr(photo.metadata, kind))
        found = getattr(again, kind)
        if kind == "comment" and again.exif and not found:  # TIFF's ImageDescription
            found = exif.values(again.exif)[270][2].rstrip(b"\0")
        assert same(kind, found, getattr(photo.metadata, kind)) == (cell == "kept")
    elif column == "stack":
        refused = pytest.raises(UserError, match="files hold one image; write a stack") if cell == "refused" else None
        with refused or nullcontext():
            stacks.check(tmp_path / f"a{suffix}")
    else:
        kinds = [(dtype, 3) for dtype in DEPTHS.get(column, [])] or [("uint8", 2), ("uint8", 4)]
        for dtype, planes in kinds:
            photo = photo_of(pixels(dtype, planes))
            if cell == "refused":
                with pytest.raises(UserError, match=f"{suffix} files cannot hold"):
                    photos.encode(photo, photo.pixels, suffix)
                continue
            again = photos.read(photos.encode(photo, photo.pixels, suffix))
            assert again.dtype == photo.dtype and (again.alpha is None) == (photo.alpha is None)
            error = 255 * np.abs(again.pixels[:, :, : photo.pixels.shape[2]] - photo.pixels).mean()
            assert error <= LOSSY.get(form, 0 if photo.dtype.itemsize < 4 else 1e-4)


def same(kind: str, found: object, wanted: object) -> bool:
    if kind == "exif" and isinstance(found, bytes):
        return exif.values(found).get(0x010F, (0, 0, b""))[2] == b"Maker\0"
    if kind == "density" and isinstance(found, tuple):
        return np.allclose(found, wanted, rtol=1e-3)
    if kind == "tags" and isinstance(found, bytes):
        return exif.values(found) == exif.values(WHITE_POINT)
    if kind == "photoshop" and isinstance(found, bytes):
        return [content for number, content, _ in metadata.resources(found) if number == metadata.IPTC] == [IPTC]
    if kind == "chunks":
        return {*wanted} <= {*found}  # type: ignore[misc]
    return found == wanted


def saved(form: str, values: np.ndarray, **options) -> bytes:
    stream = BytesIO()
    Image.fromarray(values).save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["GIF", "JPEG2000", "AVIF"])
def test_formats_that_are_only_read(form):
    values = pixels()[:, :, 0] if form == "GIF" else pixels()
    content = saved(form, values, **({"quality": 100, "subsampling": "4:4:4"} if form == "AVIF" else {}))
    assert 255 * np.abs(photos.read(content).pixels - values.reshape(48, 64, -1) / np.float32(255)).mean() < 1


def test_sixteen_bits_of_jpeg_2000_are_kept():
    values = pixels("uint16")
    done, content = cv2.imencode(".jp2", values[:, :, ::-1])
    assert done
    photo = photos.read(content.tobytes())
    assert photo.dtype == np.uint16 and np.abs(photo.pixels * 65535 - values).mean() < 300


def cmyk_profile() -> bytes:
    """A printer's profile: lightness 100 (1 - K), a and b from the inks. ICC.1:2010, sections 7 and 10.10."""
    grid = np.indices((2, 2, 2, 2)).reshape(4, -1).T  # C, M, Y, K
    cyan, magenta, yellow, black = grid.T
    light = 100 * (1 - black) * (1 - (cyan + magenta + yellow) / 4)
    lab = np.stack([light * 2.55, 128 + 60 * (magenta - cyan), 128 + 60 * (yellow - cyan)], axis=1).clip(0, 255)
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + lab.astype(np.uint8).tobytes() + ramp * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"cmyk\0" + bytes(78)
    tags, at = [(b"A2B0", table), (b"wtpt", white), (b"desc", text)], 128 + 4 + 12 * 3
    rows, behind = b"", b""
    for name, data in tags:
        rows += struct.pack(">4sII", name, at + len(behind), len(data))
        behind += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(behind), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return head + struct.pack(">I", 3) + rows + behind


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_converted_with_its_profile(form):
    """Black ink alone gives grays, no ink white; the profile does not stay, and that is said."""
    stream, values = BytesIO(), np.zeros((16, 24, 4), np.uint8)
    values[8:, :, 3], values[:8, 12:, 1] = 255, 255
    Image.fromarray(values, "CMYK").save(stream, form, icc_profile=cmyk_profile(), quality=95)
    photo = photos.read(stream.getvalue())
    assert photo.pixels[4, 4].min() > 0.95 and photo.pixels[12, 4].max() < 0.1
    red, green, _ = photo.pixels[4, 20]
    assert red > green + 0.2, "magenta ink"
    assert photo.metadata.icc is None and photos.dropped(photo, ".tif") == ["CMYK (converted to sRGB)"]


def test_a_transparent_gray_of_16_bits_stays_transparent():
    values = pixels("uint16", 1)[:, :, 0]
    plain = encoders.FORMATS[".png"].encode(values[:, :, None], metadata.NOTHING)
    chunk = metadata.png_chunk(b"tRNS", struct.pack(">H", values[0, 0]))
    photo = photos.read(plain[:33] + chunk + plain[33:])
    assert np.array_equal(photo.alpha, np.where(values == values[0, 0], 0, 65535))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_gray_of_few_bits_stays_transparent(bits):
    values = np.arange(32 * 8).reshape(32, 8) * 7 % (1 << bits)
    rows = np.packbits(
        np.unpackbits(values[:, :, None].astype(np.uint8), axis=2)[:, :, 8 - bits :].reshape(32, -1), axis=1
    )
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 8, 32, bits, 0, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", 1)),
        (b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())),
        (b"IEND", b""),
    ]
    photo = photos.read(metadata.PNG + b"".join(metadata.png_chunk(*chunk) for chunk in chunks))
    assert np.array_equal(photo.alpha, np.where(values == 1, 0, 255))


def test_planar_gray_with_alpha_and_a_second_image():
    stream, two = BytesIO(), BytesIO()
    planes = np.moveaxis(pixels("uint8", 2), 2, 0)
    tifffile.imwrite(stream, planes, photometric="minisblack", planarconfig="separate", extrasamples=["unassalpha"])
    assert np.array_equal(photos.read(stream.getvalue()).alpha, planes[1])
    image = Image.fromarray(pixels())
    image.save(two, "MPO", save_all=True, append_images=[image.rotate(180)])
    assert photos.dropped(photos.read(two.getvalue()), ".jpg") == ["second image"]


@pytest.mark.parametrize("way", ["jpg", "png", "raw profile"])
def test_orientation_of_xmp_or_a_raw_profile_is_applied_once_and_reset(way):
    packet = b'<rdf:Description tiff:Orientation="6"/>'
    made = Image.Exif()
    made[exif.ORIENTATION] = 6
    chunk = {
        "png": (b"iTXt", metadata.XMP_KEYWORD + bytes(5) + packet),
        "raw profile": (b"tEXt", b"Raw profile type APP1\0\nAPP1\n 30\n" + made.tobytes().hex().encode()),
    }
    if way == "jpg":
        content = saved("JPEG", pixels(), xmp=packet)
    else:
        content = encoders.FORMATS[".png"].encode(pixels(), Metadata(chunks=(chunk[way],)))
    photo = photos.read(content)
    assert photo.pixels.shape == (64, 48, 3)
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        assert photos.read(photos.encode(photo, photo.pixels, suffix)).pixels.shape == (64, 48, 3)


def test_tags_of_tiff_are_kept_or_named(tmp_path: Path):
    stream = BytesIO()
    tags = [
        (33550, "d", 3, (10.0, 10.0, 0.0), True),  # GeoTIFF's scale
        (42113, "s", 0, "-9999", True),
        (65000, "B", 3, b"own", True),
        (285, "s", 0, "page one", True),
    ]
    tifffile.imwrite(stream, pixels(), photometric="rgb", extratags=tags, metadata=None, resolution=(300, 300))
    photo = photos.read(stream.getvalue())
    assert photos.dropped(photo, ".tif") == []
    assert photos.dropped(photo, ".png") == ["PageName", "ModelPixelScaleTag", "GDAL_NODATA", "tag 65000"]
    with tifffile.TiffFile(BytesIO(photos.encode(photo, photo.pixels, ".tif"))) as tiff:
        page = tiff.pages.first
        assert [page.tags[code].value for code in (33550, 42113, 285)] == [(10, 10, 0), "-9999", "page one"]
        assert page.tags[65000].value == b"own" and page.tags[282].value == (300, 1)


def dng(mosaic: np.ndarray, orientation: int = 1, more: Sequence[tuple] = ()) -> bytes:
    """A DNG of 12 bits whose camera sees sRGB, with neutral at red 0.5. DNG specification 1.4, chapter 4."""
    matrix = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]  # XYZ to sRGB
    ratios = [number for value in matrix for number in (round(value * 10000), 10000)]
    tags = [
        *((50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "Camera", True), (271, "s", 0, "Maker", True)),
        *((33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True), (50714, "H", 1, 0, True)),
        *((50717, "H", 1, 4095, True), (50721, "2i", 9, ratios, True), (50728, "2I", 3, (1, 2, 1, 1, 1, 1), True)),
        *((50778, "H", 1, 21, True), (274, "H", 1, orientation, True)),
        *more,
    ]
    stream = BytesIO()
    tifffile.imwrite(stream, mosaic, photometric="cfa", extratags=tags, metadata=None, software=False)
    return stream.getvalue()


def test_a_raw_file_is_developed_with_the_cameras_white_balance():
    pytest.importorskip("rawpy")
    mosaic = np.tile((np.arange(96) * 40).astype(np.uint16), (64, 1))
    mosaic[::2, ::2] //= 2  # red
    with BytesIO(dng(mosaic)) as stream:
        assert decoders.size(stream, photos.MAX_PIXELS) == 64 * 96
    photo = photos.read(dng(mosaic), linear=True)
    assert photo.dtype == np.uint16 and photo.pixels.shape == (64, 96, 3) and photo.metadata.icc is None
    level = photo.pixels[32, 10:80]
    assert np.abs(np.ptp(level, axis=1)).max() < 0.002, "gray"
    np.testing.assert_allclose(level[:, 1], np.arange(10, 80) * 40 / 4095 * 65535 / photo.white, atol=0.02)
    shown = photos.read(dng(mosaic, orientation=6))
    assert shown.pixels.shape == (96, 64, 3) and shown.metadata.icc
    assert exif.values(shown.metadata.exif)[0x010F][2] == b"Maker\0"
    assert photos.dropped(shown, ".tif") == [] and shown.pixels.mean() > photo.pixels.mean() + 0.1


def test_a_raw_file_without_rawpy_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for content in (dng(np.zeros((16, 16), np.uint16)), b"\0\0\0\x18ftypcrx " + bytes(100), b"IIRO" + bytes(100)):
        with pytest.raises(UserError, match=r"is a camera raw file; to read it: pip install 'denoiselab\[raw\]'"):
            photos.read(content)


def test_heic_is_read_or_refused_with_the_remedy(monkeypatch):
    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"is HEIC; to read it: pip install 'denoiselab\[heic\]'"),
    ):
        patch.setitem(sys.modules, "pillow_heif", None)
        photos.read(b"\0\0\0\x18ftypheic" + bytes(100))
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels())).save(stream, quality=95)
    photo = photos.read(stream.getvalue())
    assert 255 * np.abs(photo.pixels - pixels() / np.float32(255)).mean() < 5


def test_a_stack_of_metamorph_becomes_pages(tmp_path):
    """Five images behind one directory, in the layout of STK: UIC2Tag has six numbers an image."""
    frames = np.stack([np.roll(pixels("uint16", 1)[:, :, 0], n, 1) for n in range(5)])
    body, plane = frames.astype("<u2").tobytes(), [1, 1, 2450000, 1000, 2450000, 1000]
    values = {33628: struct.pack("<2I", 0, 0) * 5, 33629: struct.pack("<6I", *plane) * 5}
    numbers = {256: 64, 257: 48, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 48, 279: 64 * 48 * 2}
    at = 8 + len(body)
    start, rows, behind = at + 2 + 12 * 11 + 4, b"", b""
    for tag, number in numbers.items():
        rows += struct.pack("<HHII", tag, 4, 1, number)
    for tag, data in values.items():
        rows += struct.pack("<HHII", tag, 5, 5, start + len(behind))
        behind += data
    content = struct.pack("<2sHI", b"II", 42, at) + body + struct.pack("<H", 11) + rows + bytes(4) + behind
    (tmp_path / "a.stk").write_bytes(content)
    with stacks.opened(tmp_path / "a.stk") as stack:
        images = [stack.decode(n) for n in range(len(stack))]
        with stacks.written(tmp_path / "a.tif", stack) as write:
            named = [write(image.values, image.metadata, image.separate) for image in images]
    assert named == [["UIC1tag", "UIC2tag"], [], [], [], []]
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), frames)


@pytest.mark.parametrize("kind", ["mask", "pyramid", "thumbnail"])
def test_further_images_of_a_photo_are_named(kind):
    stream, values = BytesIO(), pixels()
    with tifffile.TiffWriter(stream) as writer:
        if kind == "thumbnail":
            writer.write(values[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(values, photometric="rgb", subifds=int(kind == "pyramid"), metadata=None)
        if kind != "thumbnail":
            part = values[::2, ::2] if kind == "pyramid" else values[:, :, 0] > 0
            color = "rgb" if kind == "pyramid" else "minisblack"
            writer.write(part, photometric=color, subfiletype=1 if kind == "pyramid" else 4, metadata=None)
    photo = photos.read(stream.getvalue())
    assert np.array_equal(np.rint(photo.pixels * 255), values)
    name = "transparency mask" if kind == "mask" else "thumbnail or smaller copy"
    assert photos.dropped(photo, ".tif") == [name]


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


def jp2(values: np.ndarray, profile: bytes = b"", *further: tuple[bytes, bytes]) -> bytes:
    """JPEG 2000 with a colour profile instead of sRGB, and further boxes behind the image."""
    made = dict(boxes._boxes(saved("JPEG2000", values)))
    inner = dict(boxes._boxes(made[b"jp2h"])) | ({b"colr": b"\2\0\0" + profile} if profile else {})
    made[b"jp2h"] = b"".join(box(*one) for one in inner.items())
    return b"".join(box(*one) for one in [*made.items(), *further])


def test_boxes_of_jpeg_2000_are_kept_or_named():
    packet = ABOUT["XMP"].xmp
    more = [
        (b"uuid", boxes.XMP + packet),
        (b"uuid", boxes.EXIF + exif_block()),
        (b"uuid", boxes.GEO),
        (b"xml ", b"<a/>"),
    ]
    photo = photos.read(jp2(pixels(), SRGB, *more))
    assert (photo.metadata.icc, photo.metadata.xmp, photo.metadata.exif) == (SRGB, packet, exif_block())
    assert photos.dropped(photo, ".png") == ["GeoJP2", "xml box"]


def test_the_colours_of_an_avif_for_hdr_are_kept_in_png_and_named_elsewhere():
    content = bytearray(saved("AVIF", pixels()))
    at = content.find(b"colrnclx") + 8
    assert photos.dropped(photos.read(bytes(content)), ".jpg") == []
    content[at : at + 4] = struct.pack(">HH", 9, 16)  # BT.2100 PQ
    photo = photos.read(bytes(content))
    assert photo.metadata.chunks == ((b"cICP", bytes([9, 16, 0, 1])),)
    assert photos.dropped(photo, ".png") == [] and photos.dropped(photo, ".avif") == ["cICP"]


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_data_behind_an_image_is_named_or_left_out(form):
    """A phone's video behind its photo; a PNG ends with IEND."""
    content = saved(form, pixels(), **({"progressive": True} if form == "JPEG" else {}))
    assert photos.dropped(photos.read(content + bytes(9)), ".png") == []
    photo = photos.read(content + box(b"ftyp", b"mp42") + b"\xff\xd9" + bytes(100))
    names = ["data after the image, such as a video"]
    assert photos.dropped(photo, ".png") == (names if form == "JPEG" else []) and photo.metadata.chunks == ()


def test_the_profile_of_a_bmp_is_kept():
    content = saved("BMP", pixels())
    rows, profile = content[54:], SRGB
    head = struct.pack("<I", 124) + content[18:54].ljust(52, b"\0") + b"DEBM" + bytes(52)
    head += struct.pack("<III", 124 + len(rows), len(profile), 0)
    start = 14 + len(head)
    whole = struct.pack("<2sIHHI", b"BM", start + len(rows) + len(profile), 0, 0, start) + head + rows + profile
    photo = photos.read(whole)
    assert np.array_equal(np.rint(photo.pixels * 255), pixels()) and photo.metadata.icc == profile


def test_several_images_of_heic_are_named():
    pillow_heif = pytest.importorskip("pillow_heif")
    stream, made = BytesIO(), pillow_heif.from_pillow(Image.fromarray(pixels()))
    made.add_from_pillow(Image.fromarray(pixels()[::-1].copy()))
    made.save(stream, quality=95)
    photo = photos.read(stream.getvalue())
    assert photos.dropped(photo, ".png") == ["second image"] and photo.pixels.shape == (48, 64, 3)


def heic(values: np.ndarray, **options: bytes) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    mode, stream = {3: "RGB", 4: "RGBA"}[values.shape[2]] + (";16" if values.dtype == np.uint16 else ""), BytesIO()
    pillow_heif.encode(mode, values.shape[1::-1], values.tobytes(), stream, quality=95, **options)
    return stream.getvalue()


def with_field(form: str, column: str) -> bytes:
    """A file that has what the column says."""
    about = {"profile": SRGB, "EXIF": exif_block(), "XMP": ABOUT["XMP"].xmp, "comment": b"a comment"}.get(column, b"")
    planes, dtype = 4 if column == "transparency" else 3, "uint16" if column == "16 bits" else "uint8"
    values = pixels(dtype, planes)
    if form == "gif":
        options = (
            {"comment": about} if column == "comment" else {"transparency": int(values[0, 0, 0])} if planes == 4 else {}
        )
        return saved("GIF", values[:, :, 0], **options)
    if form == "heic":
        name = {"profile": "icc_profile", "EXIF": "exif", "XMP": "xmp"}.get(column)
        return heic(values, **({name: about} if name else {}))
    if form == "dng":
        pytest.importorskip("rawpy")
        tags = [(exif.XMP, "B", len(about), about, True)] if column == "XMP" else []
        return dng(np.full((64, 64), 2000, np.uint16), more=tags)
    if dtype == "uint16":
        return cv2.imencode(".jp2", values[:, :, ::-1])[1].tobytes()
    uuid = {"EXIF": boxes.EXIF, "XMP": boxes.XMP}.get(column)
    return jp2(values, about if column == "profile" else b"", *([(b"uuid", uuid + about)] if uuid else []))


@pytest.mark.parametrize(
    ("form", "column", "cell"), READ_ONLY, ids=[f"{form}-{column}" for form, column, _ in READ_ONLY]
)
def test_each_cell_of_the_formats_that_are_only_read(form, column, cell):
    if cell == "-":
        return
    photo = photos.read(with_field(form, column))
    kind = {"profile": "icc", "EXIF": "exif", "XMP": "xmp", "comment": "comment"}.get(column)
    if kind:
        assert getattr(photo.metadata, kind)
        again = photos.read(photos.encode(photo, photo.pixels, ".png")).metadata
        assert getattr(again, kind) == getattr(photo.metadata, kind) and not photos.dropped(photo, ".png")
    elif column == "transparency":
        assert photo.alpha.min() < photo.alpha.max()
    else:
        assert photo.dtype == (np.uint16 if (column, cell) == ("16 bits", "kept") else np.uint8)
        assert [name for name in photos.dropped(photo, ".png") if name.endswith("(read as 8)")] or cell == "kept"
