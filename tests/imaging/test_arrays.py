"""Hashes of arrays. (tests/system/test_faults.py tests .npy files.)"""

from denoiselab.imaging import arrays


def test_pixel_hash_depends_on_pixels_and_shape(astronaut):
    pixels = astronaut[100:140, 150:210]
    assert arrays.pixel_hash(pixels) == arrays.pixel_hash(pixels.copy())
    assert arrays.pixel_hash(pixels) != arrays.pixel_hash(pixels.reshape(-1, 20, 3))
    assert arrays.pixel_hash(pixels) != arrays.pixel_hash(255 - pixels)
