"""White of deep files: real photos with hot pixels, scale bars and statements of their writers."""

from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from denoiselab.app import denoisers
from denoiselab.imaging import photos, white_level
from tests.conftest import photograph


def camera(highest: int = 4000) -> np.ndarray:
    """A gray photo (H, W) uint16 with values up to `highest`."""
    gray = photograph("chelsea")[20:148, 100:260].mean(axis=2)
    return (gray * (highest / gray.max())).astype(np.uint16)


def hot(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[30, 40] = changed[31, 90] = changed.max() * np.float32(15)
    return changed


def barred(values: np.ndarray) -> np.ndarray:
    """With a scale bar at the highest value of the type."""
    changed = values.copy()
    changed[110:118, 90:150] = np.iinfo(values.dtype).max
    return changed


FLOAT = camera(255).astype(np.float32)
CASES = {
    "12 bits": (camera(), 4095),
    "10 bits": (camera(1000), 1023),
    "16 bits": (camera(60000), 65535),
    "12 bits with hot pixels": (hot(camera()), 4095),
    "12 bits with a scale bar": (barred(camera()), 4095),
    "a blown sky": (np.minimum(camera(8000), 4095), 4095),
    "black": (camera() * 0, 255),
    "float": (FLOAT / 255, 1),
    "float with noise": (FLOAT / 255 + np.random.default_rng(0).normal(0, 0.5, FLOAT.shape).astype(np.float32), 1),
    "float with highlights": (np.where(FLOAT > 245, 50, FLOAT / 255), 1),
    "whole numbers": (FLOAT, 255),
    "whole numbers with hot pixels": (hot(FLOAT), 255),
    "any unit": (FLOAT * 4.7, float((FLOAT * 4.7).max())),
}


@pytest.mark.parametrize("name", CASES)
def test_white_of_deep_photos(name):
    values, white = CASES[name]
    stream = BytesIO()
    tifffile.imwrite(stream, values)
    photo = photos.read(stream.getvalue())
    assert photo.white == pytest.approx(white)
    kept = tifffile.imread(BytesIO(photos.encode(photo, photo.pixels, ".tif")))
    np.testing.assert_allclose(kept, values, rtol=1e-5 if values.dtype.kind == "f" else 0)


def _written(**settings) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, camera(1500), **settings)
    return stream.getvalue()


def _png(bits: int) -> bytes:
    stream, info = BytesIO(), PngInfo()
    info.add(b"sBIT", bytes([bits]))
    Image.fromarray(camera(1500)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "white"),
    [
        (_written(ome=True, metadata={"axes": "YX", "SignificantBits": 11}), 2047),
        (_written(ome=True, metadata={"axes": "YX"}), 4095),
        (_written(imagej=True, metadata={"min": 0.0, "max": 1800.0}), 1800),
        (_written(imagej=True, metadata={"min": 0.0, "max": 900.0}), 4095),  # contrast stretched beyond the values
        (_written(extratags=[(281, 3, 1, 3000, True)]), 3000),
        (_written(extratags=[(281, 3, 1, 65535, True)]), 4095),  # states nothing
        (_png(11), 2047),
    ],
)
def test_a_statement_in_the_file_counts_where_it_fits_the_values(content, white):
    photo = photos.read(content)
    assert photo.white == white
    assert ("stated in the file" in photo.white_in_words) == (white != 4095)


def test_noise_is_found_in_spite_of_hot_pixels_and_scale_bars():
    noisy = (camera(800) + np.random.default_rng(0).normal(0, 60, camera().shape)).clip(0, 4095).astype(np.uint16)
    for change in (hot, barred):
        stream = BytesIO()
        tifffile.imwrite(stream, change(noisy))
        photo = photos.read(stream.getvalue())
        assert photo.white_in_words == "white is 1023, the usual depth for its values without outliers"
        assert denoisers.estimate(photo.pixels).sigma_255 == pytest.approx(60 * 255 / 1023, rel=0.2)


def test_white_of_bytes_is_255():
    assert white_level.choose(np.full((4, 4, 1), 17, np.uint8)) == (255, "")
