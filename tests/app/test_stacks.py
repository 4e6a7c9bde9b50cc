"""denoiselab denoise and estimate on stacks, and on channels that do not belong together."""

import re
import tracemalloc

import numpy as np
import pytest
import tifffile

from denoiselab.app import denoisers
from denoiselab.imaging import exif, photos
from tests.command import denoiselab
from tests.conftest import photograph


@pytest.fixture
def frames() -> np.ndarray:
    """Twelve noisy gray images of 12 bits, (12, 64, 64)."""
    clean = photograph("chelsea")[20:84, 120:184, 0]
    noise = np.random.default_rng(0).normal(0, 25, (12, 64, 64))
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint16) * 16


STACKS = {
    "pages": {"photometric": "minisblack", "metadata": None, "resolution": (300, 300)},
    "imagej": {"imagej": True, "metadata": {"axes": "TCYX", "fps": 5.0, "Info": "a note"}},
    "imagej in one directory": {"imagej": True, "truncate": True, "metadata": {"axes": "TCYX"}},
    "shaped in one directory": {"photometric": "minisblack", "truncate": True},
    "ome": {"ome": True, "metadata": {"axes": "TCYX", "PhysicalSizeX": 0.2, "Channel": {"Name": ["a", "b"]}}},
    "bigtiff, big-endian, LZW": {"photometric": "minisblack", "bigtiff": True, "byteorder": ">", "metadata": None},
}


@pytest.mark.parametrize("kind", STACKS)
def test_a_stack_is_denoised_image_by_image_and_stays_what_it_was(tmp_path, frames, kind):
    shape = (6, 2, 64, 64) if "metadata" in STACKS[kind] and STACKS[kind]["metadata"] else (12, 64, 64)
    tifffile.imwrite(tmp_path / "in.tif", frames.reshape(shape), **STACKS[kind])
    said = denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "-m", "gaussian")
    assert said.code == 0 and said.err == (
        f"{tmp_path}/out.tif: 12 images, gaussian (white is 4095, the usual depth for its values)\n"
    )
    with tifffile.TiffFile(tmp_path / "in.tif") as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        assert after.series[0].shape == before.series[0].shape and after.series[0].axes == before.series[0].axes
        assert after.ome_metadata == before.ome_metadata and after.imagej_metadata == before.imagej_metadata
        assert len(after.pages) == 12 and after.pages[0].dtype == np.uint16
        for tag in before.pages[0].tags:
            kept = after.pages[0].tags.get(tag.code)
            assert tag.code in exif.STRUCTURAL or tag.code == 270 or kept.value == tag.value, tag.name
        restored = after.asarray().reshape(12, 64, 64)
    for n in range(12):
        single = photos.Photo(frames[n][:, :, None] / np.float32(4095), None, np.dtype("uint16"), 4095.0)
        alone = photos.stored(single, denoisers.load("gaussian").restore(single.pixels))[:, :, 0]
        assert np.abs(restored[n].astype(int) - alone).max() <= 1


def test_the_memory_for_a_stack_does_not_grow_with_its_length(tmp_path, frames):
    peaks = []
    for number in (30, 120):
        with tifffile.TiffWriter(tmp_path / f"{number}.tif") as writer:
            for n in range(number):
                writer.write(np.tile(frames[n % 12], (4, 4)), metadata=None, photometric="minisblack")
        tracemalloc.start()
        assert denoiselab("denoise", tmp_path / f"{number}.tif", tmp_path / "o.tif", "-m", "gaussian", "-f").code == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < 40e6


def test_a_damaged_page_is_named_and_nothing_is_written(tmp_path, frames):
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for frame in frames:
            writer.write(frame, compression="zlib", metadata=None, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "in.tif") as tiff:
        at = tiff.pages[7].dataoffsets[0]
    content = bytearray((tmp_path / "in.tif").read_bytes())
    content[at : at + 40] = bytes(40)
    (tmp_path / "in.tif").write_bytes(content)
    said = denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "-m", "gaussian")
    assert (
        said.code == 1
        and f"error: {tmp_path}/in.tif: page 8: damaged image: " in said.err
        and said.err.count("\n") == 2
    )
    said = denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.png", "-m", "gaussian")
    assert said.code == 1 and ".png files hold one image; write a stack to .tif" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif"]


def test_channels_that_do_not_belong_together_are_denoised_each_by_itself(tmp_path, frames):
    tifffile.imwrite(tmp_path / "in.tif", frames[:2], photometric="minisblack", planarconfig="separate")
    assert denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "-m", "gaussian").code == 0
    restored = tifffile.imread(tmp_path / "out.tif")
    assert restored.shape == (2, 64, 64) and restored.dtype == np.uint16
    single = photos.Photo(frames[1][:, :, None] / np.float32(4095), None, np.dtype("uint16"), 4095.0)
    alone = photos.stored(single, denoisers.load("gaussian").restore(single.pixels))[:, :, 0]
    assert np.abs(restored[1].astype(int) - alone).max() <= 1


def test_a_dark_or_clean_channel_does_not_decide_for_the_others(tmp_path, frames):
    """The first of three channels is clean, the second twenty times darker than the third."""
    smooth = np.tile(np.linspace(100, 4000, 64).astype(np.uint16), (64, 1))
    channels = np.stack([smooth, frames[0] // 20, frames[1]])
    tifffile.imwrite(tmp_path / "in.tif", channels, photometric="minisblack", planarconfig="separate")
    assert denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "--quality", "fast").code == 0
    restored = tifffile.imread(tmp_path / "out.tif").astype(float)
    clean = photograph("chelsea")[20:84, 120:184, 0] * 16.0
    for n, scale in ((1, 20), (2, 1)):
        errors = [np.sqrt(np.mean((images[n] * scale - clean) ** 2)) for images in (channels, restored)]
        assert errors[1] < errors[0] / 1.8
    assert np.abs(restored[0] - smooth).mean() < 10


def test_levels_of_a_dark_channel_are_those_of_the_file(tmp_path, frames):
    """Not of the brightened channel that the model sees."""
    channels = np.stack([frames[0] // 20, frames[1] // 20, frames[2]])
    tifffile.imwrite(tmp_path / "in.tif", channels, photometric="minisblack", planarconfig="separate")
    estimated = denoiselab("estimate", tmp_path / "in.tif", "--json")
    levels = [row["sigma_255"] for row in estimated.json]
    words = ["denoise", tmp_path / "in.tif", tmp_path / "out.tif", "--quality", "fast", "--strength", "0.5"]
    said = denoiselab(*words)
    assert said.code == 0 and "of the channel, brightened 16 times" in said.err
    (before,) = re.findall(r"noise [\d.]+ of ([\d.]+) left", said.err)
    assert float(before) == pytest.approx(np.sqrt(np.mean(np.square(levels))), abs=0.06)


def test_a_dark_first_image_does_not_decide_for_the_others(tmp_path, frames):
    """An empty slice, and one in which white would be 255, come first."""
    dark = np.stack([np.zeros_like(frames[0]), frames[0] // 32, *frames])
    tifffile.imwrite(tmp_path / "in.tif", dark, photometric="minisblack")
    said = denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "--quality", "fast")
    assert said.code == 0 and "gray_fast (white noise" in said.err and "white is 4095, the usual depth" in said.err
    restored = tifffile.imread(tmp_path / "out.tif").astype(float)
    assert restored[0].max() == 0
    clean = photograph("chelsea")[20:84, 120:184, 0] * 16.0
    errors = [np.sqrt(np.mean((images[2:] - clean) ** 2)) for images in (dark, restored)]
    assert errors[1] < errors[0] / 2


def test_an_image_without_values_stays_as_it_is(tmp_path, frames):
    images = (frames / np.float32(4080)).astype(np.float32)
    images[1] = np.nan
    tifffile.imwrite(tmp_path / "in.tif", images[:3], photometric="minisblack")
    assert denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "-m", "gaussian").code == 0
    restored = tifffile.imread(tmp_path / "out.tif")
    assert np.isnan(restored[1]).all() and np.isfinite(restored[[0, 2]]).all()


def test_pages_of_different_types_have_a_white_of_their_own(tmp_path, frames):
    pages = [(frames[0] // 16).astype(np.uint8), frames[1], (frames[2] / np.float32(4080))]
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for page in pages:
            writer.write(page, metadata=None, photometric="minisblack")
    said = denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "-m", "gaussian", "--sigma", "25")
    assert said.code == 0
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        restored = [page.asarray() for page in tiff.pages]
    assert [page.dtype for page in restored] == [page.dtype for page in pages]
    changes = [
        np.std(after - before.astype(float)) / white
        for before, after, white in zip(pages, restored, (255, 4080, 1), strict=True)
    ]
    assert min(changes) > 0.9 * max(changes)


def test_strength_says_what_a_stack_and_channels_keep(tmp_path, frames):
    large = np.tile(frames, (1, 3, 3))
    tifffile.imwrite(tmp_path / "pages.tif", large[:3], photometric="minisblack")
    tifffile.imwrite(tmp_path / "channels.tif", large[:2], photometric="minisblack", planarconfig="separate")
    for name in ("pages.tif", "channels.tif"):
        said = denoiselab("denoise", tmp_path / name, tmp_path / f"o-{name}", "-m", "gaussian", "--strength", "0.5")
        found = re.search(r"strength 0.5: noise (\d+\.\d) of (\d+\.\d) left", said.err)
        assert found and 0.4 < float(found[1]) / float(found[2]) < 0.7, said.err


def test_estimate_names_each_image_and_channel(tmp_path, frames):
    weak = ((frames[3].astype(int) + frames[4]) // 2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([frames[0], weak]), photometric="minisblack")
    tifffile.imwrite(tmp_path / "two.tif", frames[:2], photometric="minisblack", planarconfig="separate")
    said = denoiselab("estimate", tmp_path / "pages.tif", tmp_path / "two.tif")
    assert said.code == 0 and [re.split(": sigma ", line)[0] for line in said.out.splitlines()] == [
        *(f"{tmp_path}/pages.tif, image {n}" for n in (1, 2)),
        *(f"{tmp_path}/two.tif, channel {n}" for n in (1, 2)),
    ]
    first, second = denoiselab("estimate", tmp_path / "pages.tif", "--json").json
    assert (first["image"], second["image"]) == (1, 2) and second["sigma_255"] < 0.85 * first["sigma_255"]


def test_noise_of_a_dark_channel_is_stated_and_taken_on_the_scale_of_the_file(tmp_path):
    """The same noise in both channels, the second of which is ten times darker; internally it is brightened."""
    clean = photograph("chelsea")[:256, :256, 0] / 255 * 50000
    noise = np.random.default_rng(0).normal(0, 300, (2, 256, 256))
    channels = (np.stack([clean, clean / 10]) + 3000 + noise).astype(np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", channels, photometric="minisblack", planarconfig="separate")
    _, dark = denoiselab("estimate", tmp_path / "in.tif", "--white", 65535, "--curve", "--json").json
    assert dark["sigma_255"] == pytest.approx(300 / 257, rel=0.15) and "brightened" in dark["why"]
    assert max(dark["curves"][0]["brightness"]) < 0.2
    options = ["--model", "bm3d", "--sigma", 300 / 257, "--white", 65535]
    assert denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", *options).code == 0
    left = tifffile.imread(tmp_path / "out.tif")[1] - (clean / 10 + 3000)
    assert np.sqrt(np.mean(left**2)) < 0.6 * 300


def test_compare_shows_one_image_of_a_stack(tmp_path, frames):
    tifffile.imwrite(tmp_path / "in.tif", frames, photometric="minisblack")
    tifffile.imwrite(tmp_path / "clean.tif", frames[5])
    compare = ["compare", tmp_path / "in.tif", tmp_path / "out.png", "-f", "--models", "gaussian", "--json"]
    psnr = [
        denoiselab(*compare, "--clean", tmp_path / "clean.tif", "--image", n).json["versions"][0]["psnr"]
        for n in (5, 6)
    ]
    assert psnr[0] < 25 and psnr[1] == 100
    assert denoiselab(*compare).code == 0
    assert "in.tif: has 12 images; there is no image 13" in denoiselab(*compare, "--image", 13).err
    said = denoiselab("noise", tmp_path / "in.tif", tmp_path / "n.tif", "--noise", "gaussian25")
    assert said.code == 1 and "has 12 images; only denoise, estimate and compare take stacks" in said.err


def test_what_is_far_above_white_is_said_to_be_kept(tmp_path, frames):
    bright = (frames[0] / np.float32(4080)).astype(np.float32)
    bright[10:20, 10:20] = 50
    tifffile.imwrite(tmp_path / "in.tif", bright)
    said = denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "-m", "gaussian")
    line = f"warning: {tmp_path}/in.tif: 2.44 % of the values are far outside black and white: kept, not denoised"
    assert said.code == 0 and line in said.err
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif")[12:18, 12:18], 50, atol=0.5)
    tifffile.imwrite(tmp_path / "in.tif", np.stack([bright * 0, bright, bright]), photometric="minisblack")
    said = denoiselab("denoise", tmp_path / "in.tif", tmp_path / "out.tif", "-m", "gaussian", "-f")
    assert f"{line.replace(': 2.44 %', ': image 2: 2.44 %')}, and 1 more\n" in said.err
