"""denoiselab compare, and its comparison image at any size."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from denoiselab.app import side_by_side
from denoiselab.app.denoisers import Entry, known
from denoiselab.imaging import photos, white_level
from denoiselab.metrics import image_quality
from denoiselab.report.figures import gallery
from denoiselab.report.figures._panels import Panel
from denoiselab.runtime.errors import UserError
from tests.command import denoiselab
from tests.conftest import ROOT


@pytest.fixture
def pair(tmp_path, astronaut):
    clean = astronaut[60:180, 150:300]
    noise = 25 * np.random.default_rng(0).standard_normal(clean.shape)
    noisy = np.clip(clean + noise, 0, 255).round().astype(np.uint8)
    for name, pixels in (("clean", clean), ("noisy", noisy)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def test_all_suitable_models_have_the_scores_of_the_report(pair, monkeypatch):
    monkeypatch.chdir(pair)
    said = denoiselab("compare", "noisy.png", "out.png", "--clean", "clean.png", "--json")
    rows = {row["name"]: row for row in said.json["versions"]}
    assert [*rows] == ["input", *side_by_side.suitable(known(), 3)]
    assert {"colour_fast", "real"} <= rows.keys() and "gray_fast" not in rows
    clean, noisy = (np.asarray(Image.open(pair / f"{name}.png")) for name in ("clean", "noisy"))
    assert rows["input"]["psnr"] == pytest.approx(image_quality.psnr(clean, noisy, data_range=255), abs=1e-4)
    assert rows["input"]["ssim"] == pytest.approx(image_quality.ssim(clean, noisy, data_range=255), abs=1e-4)
    assert rows["colour_fast"]["psnr"] > rows["input"]["psnr"] + 6
    assert rows["colour_fast"]["seconds"] > 0 and rows["input"]["seconds"] is None
    made = Image.open(pair / "out.png")
    assert made.width >= (len(rows) + 1) // 2 * gallery.WIDTH


def test_chosen_models_without_a_clean_image(pair):
    out = pair / "out.webp"
    said = denoiselab("compare", pair / "noisy.png", out, "--models", f"gray_fast, {ROOT / 'models/released/real'}")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == ["input", "gray_fast", "real", "written"]
    assert "dB" not in said.out
    assert Image.open(out).format == "WEBP"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["noisy.png", "out.gif"], "out.gif: unknown format; choose from: .png"),
        (["missing.png", "out.png"], "missing.png: there is no such file"),
        (["noisy.png", "clean.png"], "clean.png: already exists; use --force to overwrite it"),
        (["missing.png", "clean.png/out.png"], "clean.png is not a folder"),
        (["noisy.png", "out.png", "--models", "nobody"], "unknown model 'nobody'; choose from: "),
        (["noisy.png", "out.png", "--quality", "good"], "unknown quality 'good'; choose from: fast, best"),
        (["noisy.png", "out.png", "--clean", "small.png"], "is 40 x 30 colour, the noisy one 150 x 120 colour"),
    ],
)
def test_mistakes_give_one_line_and_no_image(options, message, pair, monkeypatch):
    monkeypatch.chdir(pair)
    Image.new("RGB", (40, 30)).save("small.png")
    said = denoiselab("compare", *options)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert message in said.err
    assert not (pair / "out.png").exists()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_both_images_have_the_same_scale(dtype, pair, astronaut, monkeypatch):
    """Noise above the clean image's maximum does not darken the noisy image."""
    monkeypatch.chdir(pair)
    clean = (astronaut[60:180, 150:300] * np.array(4, dtype)).astype(dtype)  # 10 bits, or whole numbers in float
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 100, clean.shape), 0, None).astype(dtype)
    for name, values in (("clean", clean), ("noisy", noisy)):
        tifffile.imwrite(f"{name}.tif", values, photometric="rgb")
    assert noisy.max() > 1023
    said = denoiselab("compare", "noisy.tif", "out.png", "--clean", "clean.tif", "--models", "median", "--json")
    expected = -10 * np.log10(np.square((noisy.astype(float) - clean) / 1023).mean())
    assert said.json["versions"][0]["psnr"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**60), lambda: np.empty(2**60, np.uint8)])
def test_too_little_memory_gives_one_line(allocate, pair, monkeypatch):
    monkeypatch.setattr("denoiselab.app.denoisers.Denoiser.restore", lambda *_, **__: allocate())
    said = denoiselab("compare", pair / "noisy.png", pair / "out.png", "--models", "colour")
    assert (said.code, said.out) == (1, "") and said.err.startswith("error: not enough memory; try a smaller")
    assert said.err.count("\n") == 1
    monkeypatch.setattr("denoiselab.app.denoisers.Denoiser.restore", lambda *_, **__: torch.empty(2) @ torch.empty(3))
    with pytest.raises(RuntimeError, match="size"):
        denoiselab("compare", pair / "noisy.png", pair / "out.png", "--models", "colour")


def test_a_noisy_float_image_keeps_its_scale_beside_a_clean_8_bit_image(pair, astronaut, monkeypatch):
    monkeypatch.chdir(pair)
    clean = astronaut[60:180, 150:300] / np.float32(255)
    noisy = clean + np.random.default_rng(0).normal(0, 1.5, clean.shape).astype(np.float32)
    tifffile.imwrite("noisy.tif", noisy, photometric="rgb")
    assert (noisy > white_level.FLOAT_HIGHEST).mean() > white_level.FLOAT_SHARE, "looks like another scale"
    said = denoiselab("compare", "noisy.tif", "out.png", "--clean", "clean.png", "--models", "median", "--json")
    assert said.json["versions"][0]["psnr"] == pytest.approx(image_quality.psnr(clean, noisy, data_range=1), abs=1e-4)


def test_a_gray_image_needs_a_gray_model():
    gray, colour = (Entry(n, "released", "", c, "", None, "", 1, ROOT) for n, c in (("gray", 1), ("colour", 3)))
    classical = replace(colour, name="nlm", origin="classical")
    assert side_by_side.suitable([colour, gray, classical], 1) == ["gray", "nlm"]
    with pytest.raises(UserError, match="no model for gray images; available: colour"):
        side_by_side.suitable([colour], 1)


def test_an_image_smaller_than_the_ssim_window_has_no_ssim():
    tiny = np.full((8, 20, 3), 0.5, np.float32)
    photo = photos.Photo(tiny, None, np.dtype(np.uint8), 255.0)
    only = next(side_by_side.versions(photo, [], tiny))
    assert only.score == side_by_side.Score(image_quality.HIGHEST_PSNR, None)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_scores_equal_those_of_the_file_written_by_denoise(dtype, pair, monkeypatch):
    monkeypatch.chdir(pair)
    for name in ("clean", "noisy"):
        photo = photos.read(pair / f"{name}.png")
        white = float(np.iinfo(dtype).max) if dtype != "float32" else 1.0
        photos.write(pair / f"{name}.tif", replace(photo, dtype=np.dtype(dtype), white=white), photo.pixels)
    said = denoiselab("compare", "noisy.tif", "out.png", "--clean", "clean.tif", "--models", "colour", "--json")
    assert denoiselab("denoise", "noisy.tif", "restored.tif", "--model", "colour").code == 0
    clean, made = (photos.read(pair / f"{name}.tif").pixels for name in ("clean", "restored"))
    psnr = image_quality.psnr(clean, made.clip(0, 1), data_range=1)
    assert said.json["versions"][1]["psnr"] == pytest.approx(psnr, abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (16, 16, 1), (50, 2000, 3), (2500, 60, 3), (300, 400, 1), (120, 90, 3)])
@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_the_comparison_is_legible_at_any_size(shape, count):
    pixels = np.full(shape, 90, np.uint8)
    made = gallery.gallery([Panel(f"model-{n}\n0.10 s   30.00 dB   SSIM 0.9000", pixels) for n in range(count)])
    assert made.width >= gallery.WIDTH
    assert max(made.size) < 6000
    shown = np.asarray(made)
    assert (shown == 90).all(axis=2).any(), "the image itself"
    assert (shown < 60).all(axis=2).sum() >= 100 * count, "dark letters in every panel"


def test_the_centre_is_enlarged_without_resampling():
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    shown = np.asarray(gallery.gallery([Panel("x\ny", pixels)]))
    side, factor = gallery.ZOOM, gallery.WIDTH // gallery.ZOOM
    middle = pixels[44 : 44 + side, 94 : 94 + side]
    edge = 2 * 6
    below = shown[-edge - gallery.WIDTH : -edge, edge : edge + gallery.WIDTH]
    assert np.array_equal(below[::factor, ::factor], middle)


def test_the_area_to_enlarge_is_chosen(pair):
    panel = Panel("x\ny", np.asarray(Image.open(pair / "noisy.png")))
    enlarged = gallery.gallery([panel], (10, 20, 66, 76))
    factor = gallery.WIDTH // 56
    part = panel.pixels[20:76, 10:66].repeat(factor, 0).repeat(factor, 1)
    shown = np.asarray(enlarged)
    assert (shown[-part.shape[0] - 12 : -12, 12 : 12 + part.shape[1]] == part).all()
    for crop, reason in {
        "1,2,3": "give four whole numbers",
        "100,90,60,20": "is not within the image of 150 x 120",
    }.items():
        said = denoiselab("compare", pair / "noisy.png", pair / "no.png", "--models", "gray", "--crop", crop)
        assert said.code == 1 and reason in said.err
    said = denoiselab("compare", pair / "noisy.png", pair / "out.png", "--models", "gray", "--crop", "10,20,56,56")
    assert said.code == 0
