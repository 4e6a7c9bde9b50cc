"""Decoding: what is read to which pixels, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from denoiselab.imaging import dataset_images


@pytest.fixture
def pixels(astronaut):
    return astronaut[100:140, 150:210]


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_formats_come_back(tmp_path, pixels, suffix):
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(dataset_images.read(tmp_path / f"a.{suffix}", 3), pixels)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_formats_come_near(tmp_path, pixels, suffix):
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
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(dataset_images.read(tmp_path / "a.png", 3), np.rot90(pixels, -1))


def test_opaque_alpha_is_dropped(tmp_path, pixels):
    Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])).save(tmp_path / "a.png")
    assert np.array_equal(dataset_images.read(tmp_path / "a.png", 3), pixels)


def test_bad_files_are_named_in_one_line(tmp_path, pixels):
    def made(name: str, save) -> Path:
        save(tmp_path / name)
        return tmp_path / name

    image = Image.fromarray(pixels)
    whole = made("whole.jpg", image.save).read_bytes()
    bad = {
        made("empty.png", lambda p: p.write_bytes(b"")): "the file is empty",
        made("text.png", lambda p: p.write_bytes(b"hello")): "not an image",
        made("cut.jpg", lambda p: p.write_bytes(whole[: len(whole) // 2])): "damaged image",
        made("cmyk.jpg", image.convert("CMYK").save): "colour mode CMYK",
        made("clear.png", Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save): "transparent",
        made("film.webp", lambda p: image.save(p, save_all=True, append_images=[image.rotate(90)])): "2 frames",
    }
    for path, reason in bad.items():
        with pytest.raises(ValueError, match=reason) as error:
            dataset_images.read(path, 3)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_pixel_hash_knows_pixels_and_shape(pixels):
    assert dataset_images.pixel_hash(pixels) == dataset_images.pixel_hash(pixels.copy())
    assert dataset_images.pixel_hash(pixels) != dataset_images.pixel_hash(pixels.reshape(-1, 20, 3))
    assert dataset_images.pixel_hash(pixels) != dataset_images.pixel_hash(255 - pixels)
