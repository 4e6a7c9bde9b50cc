"""Data-set images: exact pixels, and refusals."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from denoiselab.imaging import dataset_images, decoders
from denoiselab.runtime.errors import UserError

COLOURS = {1: "minisblack", 3: "rgb"}  # TIFF's photometric interpretation


@pytest.fixture
def pixels(astronaut):
    return astronaut[100:140, 150:210]


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_formats_are_exact(tmp_path, pixels, suffix):
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(dataset_images.read(tmp_path / f"a.{suffix}", 3), pixels)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_formats_are_close(tmp_path, pixels, suffix):
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", quality=95)
    assert np.abs(dataset_images.read(tmp_path / f"a.{suffix}", 3).astype(int) - pixels).mean() < 6


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled(tmp_path, suffix, channels):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3) if channels == 3 else (20, 30)).astype(np.uint16)
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), deep[..., ::-1] if channels == 3 else deep)
    assert np.array_equal(dataset_images.read(path, channels), np.round(deep / 257).astype(np.uint8))


def test_gray_and_colour_are_converted(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    assert np.array_equal(dataset_images.read(tmp_path / "colour.png", 1), dataset_images.gray(pixels))
    assert np.array_equal(dataset_images.read(tmp_path / "gray.png", 3), np.repeat(pixels[..., :1], 3, axis=2))


def test_gray_is_matlabs(pixels):
    r, g, b = pixels[3, 4].astype(float)
    assert dataset_images.gray(pixels)[3, 4] == round(
        0.298936021293775 * r + 0.587043074451121 * g + 0.114020904255103 * b
    )


def test_orientation_is_applied(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(dataset_images.read(tmp_path / "a.png", 3), np.rot90(pixels, -1))


def test_opaque_alpha_is_dropped(tmp_path, pixels):
    Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])).save(tmp_path / "a.png")
    assert np.array_equal(dataset_images.read(tmp_path / "a.png", 3), pixels)


def test_bad_files_are_refused_by_name_in_one_line(tmp_path, pixels):
    def made(name: str, save) -> Path:
        save(tmp_path / name)
        return tmp_path / name

    image = Image.fromarray(pixels)
    whole = made("whole.jpg", image.save).read_bytes()
    bad = {
        made("empty.png", lambda p: p.write_bytes(b"")): "the file is empty",
        made("text.png", lambda p: p.write_bytes(b"hello")): "not an image",
        made("cut.jpg", lambda p: p.write_bytes(whole[: len(whole) // 2])): "damaged image",
        made("cmyk.jpg", image.convert("CMYK").save): "is CMYK without a colour profile",
        made("clear.png", Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save): "transparent",
        made("film.webp", lambda p: image.save(p, save_all=True, append_images=[image.rotate(90)])): "2 frames",
    }
    for path, reason in bad.items():
        with pytest.raises(UserError, match=reason) as error:
            dataset_images.read(path, 3)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_of_tiff_is_applied(tmp_path, pixels, orientation, dtype, channels):
    stored = pixels[:, :, 0] if channels == 1 else pixels
    tag = (274, "H", 1, orientation, True)
    deep = stored.astype(dtype) * (257 if dtype == "uint16" else 1)
    tifffile.imwrite(tmp_path / "a.tif", deep.astype(dtype), photometric=COLOURS[channels], extratags=[tag])
    assert np.array_equal(dataset_images.read(tmp_path / "a.tif", channels), decoders.UPRIGHT[orientation](stored))


def test_planes_of_tiff_are_joined(tmp_path, pixels):
    planes = np.moveaxis(pixels.astype(np.uint16) * 257, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(dataset_images.read(tmp_path / "a.tif", 3), pixels)


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_an_opaque_channel_of_tiff_is_dropped(tmp_path, pixels, depth, kind):
    values = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]).astype(depth)
    values *= 257 if depth == "uint16" else 1
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[kind])
    assert np.array_equal(dataset_images.read(tmp_path / "a.tif", 3), pixels)
    values[0, 0, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[kind])
    with pytest.raises(UserError, match="transparen"):
        dataset_images.read(tmp_path / "a.tif", 3)


def test_a_phones_second_image_is_ignored(tmp_path, pixels):
    image = Image.fromarray(pixels)
    image.save(tmp_path / "one.jpg")
    image.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[image.rotate(90)])
    assert np.array_equal(*(dataset_images.read(tmp_path / f"{name}.jpg", 3) for name in ("one", "two")))


def test_float_and_cut_16_bit_colour_are_refused(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "float.tif", pixels.astype(np.float32), photometric="rgb")
    cv2.imwrite(str(tmp_path / "cut.png"), pixels.astype(np.uint16) * 257)
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    for name, reason in {"float.tif": "float pixels", "cut.png": "damaged image"}.items():
        with pytest.raises(UserError, match=reason):
            dataset_images.read(tmp_path / name, 3)
