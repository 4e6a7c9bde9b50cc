"""denoiselab noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from denoiselab.config import noise_presets
from denoiselab.imaging import photos as images
from denoiselab.noise import cameras
from tests.command import denoiselab


@pytest.fixture
def clean(tmp_path, astronaut):
    path = tmp_path / "clean.png"
    Image.fromarray(astronaut[:120, :160]).save(path)
    return path


def test_a_condition_has_the_strength_in_its_name(clean, tmp_path):
    said = denoiselab("noise", clean, tmp_path / "noisy.tif", "--noise", "gaussian25", "--float")
    assert said.code == 0
    noisy = images.read(tmp_path / "noisy.tif", white=1.0)
    assert noisy.dtype == np.float32
    error = noisy.pixels - images.read(clean).pixels
    assert error.std() * 255 == pytest.approx(25, rel=0.02)
    assert noisy.pixels.min() < 0 and noisy.pixels.max() > 1, "nothing is clipped"
    assert "gaussian (sigma 25 of 255, per channel, not clipped), seed 0; PSNR 20.2" in said.out
    assert "clipped to the file's range" not in said.out


@pytest.mark.parametrize("name", ["bsds_clipped25", "harder"])
def test_float_files_are_never_clipped_or_rounded(clean, tmp_path, name):
    said = denoiselab("noise", clean, tmp_path / "noisy.tif", "--noise", name, "--float")
    assert said.code == 0 and "8 bits" not in said.out
    values = images.read(tmp_path / "noisy.tif", white=1.0).pixels
    assert values.min() < 0 and values.max() > 1 and len(np.unique(values)) > 1000


def test_noise_is_rounded_to_the_depth_of_the_file(clean, tmp_path):
    Image.fromarray(np.array(Image.open(clean).convert("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    said = denoiselab("noise", tmp_path / "deep.png", tmp_path / "noisy.png", "--noise", "bsds_clipped25")
    assert said.code == 0 and "clipped, 16 bits" in said.out
    assert len(np.unique(np.array(Image.open(tmp_path / "noisy.png")))) > 1000


@pytest.mark.parametrize("sigma", [1, 40])
def test_eight_bits_are_kept_and_clipping_is_reported(clean, tmp_path, sigma):
    """The PSNR is that of the rounded file: at sigma 1, 0.35 dB below that of the noise."""
    out = tmp_path / "noisy.png"
    said = denoiselab("noise", clean, out, "--kind", "gaussian", "--sigma", sigma, "--json")
    assert images.read(out).dtype == np.uint8
    values, original = images.read(out).pixels, images.read(clean).pixels
    row = said.json["images"][0]
    assert row["psnr"] == pytest.approx(-10 * np.log10(np.square(values - original).mean()), abs=0.001)
    at_the_ends = np.mean((values == 0) | (values == 1))
    assert 0 < row["clipped"] <= at_the_ends
    assert said.json["noise"]["sigma_255"] == sigma


def test_sixteen_bits_profile_and_exif_are_kept(clean, tmp_path):
    photo = images.read(clean)
    deep = replace(photo, dtype=np.dtype(np.uint16), white=65535.0, metadata=replace(photo.metadata, icc=b"a profile"))
    images.write(tmp_path / "deep.png", deep, deep.pixels)
    assert denoiselab("noise", tmp_path / "deep.png", tmp_path / "out.png", "--noise", "poisson30").code == 0
    noisy = images.read(tmp_path / "out.png")
    assert noisy.dtype == np.uint16
    assert noisy.metadata.icc == b"a profile"


def test_the_pixels_depend_on_the_seed_alone(clean, tmp_path):
    made = []
    for n, seed in enumerate((3, 3, 4)):
        denoiselab("noise", clean, tmp_path / f"{n}.png", "--noise", "speckle20", "--seed", seed)
        made.append((tmp_path / f"{n}.png").read_bytes())
    assert made[0] == made[1] != made[2]


def test_a_bad_file_in_a_folder_is_skipped_and_sets_the_exit_code(photos, tmp_path):
    (photos / "bad.png").write_text("no picture")
    (photos / "inner").mkdir()
    (photos / "photo0.png").rename(photos / "inner" / "photo0.png")
    said = denoiselab("noise", photos, tmp_path / "out", "--kind", "salt_pepper")
    assert said.code == 1
    assert "bad.png: not an image" in said.err
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert made == {f"photo{n}.{s}" for n, s in enumerate(("png", "jpg", "tif", "bmp", "webp", "png")) if n} | {
        "inner/photo0.png"
    }
    first, last = (pixels_of(tmp_path / "out" / name) for name in ("photo5.png", "inner/photo0.png"))
    assert not np.array_equal(first == 0, last == 0), "each image has its own noise"


def pixels_of(path):
    return images.read(path).pixels


def test_nothing_is_overwritten_without_force(clean, tmp_path):
    out = tmp_path / "noisy.png"
    out.write_text("mine")
    assert "use --force to overwrite it" in denoiselab("noise", clean, out, "--kind", "uniform").err
    assert out.read_text() == "mine"
    assert denoiselab("noise", clean, out, "--kind", "uniform", "--force").code == 0
    assert "would be overwritten" in denoiselab("noise", clean, clean, "--kind", "uniform", "--force").err


def test_unwritable_outputs_are_refused_before_noise_is_drawn(clean, tmp_path, monkeypatch):
    monkeypatch.setattr("denoiselab.noise.synthesis.add", lambda *_: pytest.fail("drawn for nothing"))
    refused = {"noisy.png": "noisy.png: .png files cannot hold float pixels", "clean.png/a.tif": "is not a folder"}
    for out, reason in refused.items():
        said = denoiselab("noise", clean, tmp_path / out, "--kind", "gaussian", "--float")
        assert said.code == 1 and reason in said.err and said.err.count("\n") == 1


def test_too_little_memory_for_an_image_gives_one_line(clean, tmp_path, monkeypatch):
    monkeypatch.setattr("denoiselab.noise.synthesis.add", lambda *_, **__: torch.empty(2**60))
    said = denoiselab("noise", clean, tmp_path / "noisy.png", "--kind", "gaussian")
    assert (said.code, said.err) == (1, f"error: {clean}: not enough memory; try a smaller image\n")


def test_the_list_names_every_condition_and_kind():
    said = denoiselab("noise", "--list")
    assert said.code == 0
    listed = {line.split()[0] for line in said.out.splitlines() if line.startswith("  ")}
    assert listed == {*noise_presets.conditions(), *noise_presets.KINDS}


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        ([], "--noise, --kind or --camera is required; see --list and --cameras", 2),
        (["--noise", "gaussian25", "--kind", "gaussian"], "use either --noise or --kind, not both", 2),
        (["--noise", "gaussian25", "--level", "3"], "--level needs --kind", 2),
        (["--noise", "real"], "noise 'real' is unknown; choose from: ", 1),
        (["--camera", "one"], "--camera and --iso go together", 2),
        (["--camera", "one", "--iso", "100", "--noise", "gaussian25"], "use either --noise or --camera", 2),
        (["--camera", "one", "--iso", "100", "--level", "3"], "--level does not go with --camera", 2),
        (["--camera", "one", "--iso", "100", "--kind", "jpeg"], "'jpeg' is not of a camera; choose from: camera, ", 1),
        (["--kind", "jpeg", "--level", "0"], "quality: input should be greater than or equal to 1", 1),
    ],
)
def test_mistakes_are_reported_and_nothing_is_written(options, message, code, clean, tmp_path):
    said = denoiselab("noise", clean, tmp_path / "noisy.png", *options)
    assert (said.code, said.out) == (code, "")
    assert message in " ".join(said.err.replace("│", " ").split())
    assert not (tmp_path / "noisy.png").exists()


def test_the_noise_of_a_camera(clean, tmp_path, monkeypatch):
    table = tmp_path / "table.json"
    profiles = [{"iso": iso, "a": [iso * 1e-6] * 3, "b": [0.0] * 3} for iso in (100, 6400)]
    table.write_text(
        json.dumps({"noiseprofiles": [{"maker": "Acme", "models": [{"model": "One", "profiles": profiles}]}]})
    )
    monkeypatch.setattr(cameras, "obtain", lambda *args, **kwargs: table)
    cameras.table.cache_clear()
    listed = denoiselab("noise", "--cameras")
    assert listed.out == "Acme One: ISO 100 to 6400\n"
    psnr = []
    for iso in (100, 3200):
        said = denoiselab("noise", clean, tmp_path / f"{iso}.png", "--camera", "one", "--iso", iso)
        assert f"camera (camera one, iso {iso}, not clipped), seed 0; PSNR " in said.out
        psnr.append(float(said.out.rpartition("PSNR ")[2].split()[0]))
    assert psnr[0] - psnr[1] == pytest.approx(10 * np.log10(32), abs=1.5)
    said = denoiselab("noise", clean, tmp_path / "jpeg.png", "--camera", "one", "--iso", 6400, "--kind", "camera_jpeg")
    assert "camera-jpeg (camera one, iso 6400, sharpening 0.5, luma blur 0.6" in said.out
    cameras.table.cache_clear()


def test_metadata_that_the_output_cannot_hold_are_named(astronaut, tmp_path):
    text = PngInfo()
    text.add_text("Comment", "at dawn")
    Image.fromarray(astronaut[:64, :64]).save(tmp_path / "clean.png", pnginfo=text)
    arguments = ("--kind", "gaussian", "--json")
    kept = denoiselab("noise", tmp_path / "clean.png", tmp_path / "noisy.png", *arguments)
    assert (kept.code, kept.err, json.loads(kept.out)["images"][0]["dropped"]) == (0, "", [])
    said = denoiselab("noise", tmp_path / "clean.png", tmp_path / "noisy.bmp", *arguments)
    (dropped,) = json.loads(said.out)["images"][0]["dropped"]
    assert said.code == 3 and said.err == f"{tmp_path / 'noisy.bmp'}: without {dropped}, which it cannot hold\n"
