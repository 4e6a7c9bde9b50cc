"""denoiselab explain: every convention against a plain calculation with other libraries."""

from statistics import fmean

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from denoiselab.app import conventions, denoisers
from denoiselab.config import noise_presets
from denoiselab.imaging.tensors import interleaved, planar
from denoiselab.noise import synthesis
from denoiselab.runtime import seeding
from tests.command import denoiselab
from tests.conftest import photograph

MODEL, SIGMA = "gaussian", 25


@pytest.fixture(scope="module")
def photos() -> dict[str, np.ndarray]:
    """Two crops with black, one without white."""
    return {"a.png": photograph()[200:470, 30:330], "b.png": photograph("chelsea")[20:290, 60:360]}


@pytest.fixture(scope="module")
def restore():
    denoiser = denoisers.load(MODEL)
    return lambda noisy: denoiser.restore(noisy, sigma_255=SIGMA)


@pytest.fixture(scope="module")
def found(photos, restore) -> list[conventions.Found]:
    return conventions.measure([*photos.items()], restore, SIGMA)


def by_project(name: str, clean: np.ndarray) -> np.ndarray:
    """The noisy image of the default experiment's condition sigma25, as its stage add-noise draws it."""
    spec, generator = noise_presets.condition("gaussian25"), seeding.generator(0, name, "sigma25", 0)
    return interleaved(synthesis.add(planar(clean.astype(np.float32) / 255), generator, spec))


def by_one_generator():
    """A noise function that draws one image after the other from one generator."""
    generator = torch.Generator().manual_seed(0)

    def noisy(_: str, clean: np.ndarray) -> np.ndarray:
        drawn = torch.randn(3, *clean.shape[:2], generator=generator).numpy().transpose(1, 2, 0)
        return clean / np.float32(255) + np.float32(25 / 255) * drawn

    return noisy


def by_numpy(_: str, clean: np.ndarray) -> np.ndarray:
    random = np.random.RandomState(0)
    return (clean / 255 + random.normal(0, 25 / 255, clean.shape)).astype(np.float32)


def rounded(image: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def usual(clean: np.ndarray, restored: np.ndarray) -> float:
    return peak_signal_noise_ratio(clean, rounded(restored))


def whole(clean: np.ndarray) -> np.ndarray:
    return clean


def y_of_matlab(clean: np.ndarray, restored: np.ndarray) -> float:
    x, y = (rgb2ycbcr(image)[..., 0] for image in (clean, rounded(restored)))
    return peak_signal_noise_ratio(x, y, data_range=255)


def y_of_opencv(clean: np.ndarray, restored: np.ndarray) -> float:
    scaled = (image.astype(np.float32) / 255 for image in (clean, rounded(restored)))
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 0] for image in scaled)
    return peak_signal_noise_ratio(x, y, data_range=1)


def by_channel(clean: np.ndarray, restored: np.ndarray) -> float:
    return fmean(usual(clean[..., c], restored[..., c]) for c in range(3))


EXPECTED = {  # convention: noise, frame, score
    (): (by_project, whole, usual),
    ("noise", "clipped"): (lambda *image: by_project(*image).clip(0, 1), whole, usual),
    ("noise", "clipped8"): (lambda *image: rounded(by_project(*image)) / np.float32(255), whole, usual),
    ("seeding", "shared"): (by_one_generator, whole, usual),
    ("seeding", "legacy"): (by_numpy, whole, usual),
    ("geometry", "crop"): (by_project, lambda clean: clean[7:263, 22:278], usual),
    ("geometry", "resize"): (by_project, lambda clean: np.asarray(Image.fromarray(clean).resize((256, 256), 2)), usual),
    ("output", "clipped"): (
        by_project,
        whole,
        lambda x, y: peak_signal_noise_ratio(x / 255, y.clip(0, 1), data_range=1),
    ),
    ("output", "raw"): (by_project, whole, lambda x, y: peak_signal_noise_ratio(x / 255, y, data_range=1)),
    ("channels", "y"): (by_project, whole, y_of_matlab),
    ("channels", "y_full"): (by_project, whole, y_of_opencv),
    ("channels", "mean"): (by_project, whole, by_channel),
    ("border", "4"): (by_project, whole, lambda x, y: usual(x[4:-4, 4:-4], y[4:-4, 4:-4])),
    ("border", "8"): (by_project, whole, lambda x, y: usual(x[8:-8, 8:-8], y[8:-8, 8:-8])),
    ("average", "mse"): (by_project, whole, lambda x, y: mean_squared_error(x, rounded(y))),
    ("peak", "maximum"): (by_project, whole, lambda x, y: peak_signal_noise_ratio(x, rounded(y), data_range=x.max())),
}


def expected(convention: tuple[str, ...], photos, restore) -> float:
    noise, frame, score = EXPECTED[convention]
    noise = noise() if noise is by_one_generator else noise
    clean = {name: frame(pixels) for name, pixels in photos.items()}
    mean = fmean(float(score(own, restore(noise(name, own)))) for name, own in clean.items())
    return 20 * np.log10(255) - 10 * np.log10(mean) if convention == ("average", "mse") else mean


def test_every_convention_is_calculated_here():
    tables = {**conventions.INPUTS, **conventions.SCORINGS}
    assert {*EXPECTED} == {(), *((key, value) for key, values in tables.items() for value in [*values][1:])}


@pytest.mark.parametrize("convention", EXPECTED)
def test_a_number_under_a_convention_is_found(convention, photos, restore, found):
    number = expected(convention, photos, restore)
    nearest, second, *_ = conventions.ranked(found, number)
    assert nearest.changes == (dict([convention]) if convention else {})
    assert nearest.psnr == pytest.approx(number, abs=1e-5)
    assert abs(second.psnr - number) > 3e-5, "the conventions differ on these images"
    assert nearest.low < number < nearest.high
    assert f"{number:.2f} dB with {nearest.words}, 0.00 dB from" in conventions.summary(found, number)


def test_two_changes_are_named_where_one_does_not_explain_the_number(photos, restore, found):
    clean = {name: pixels[7:263, 22:278] for name, pixels in photos.items()}
    number = fmean(y_of_matlab(own, restore(by_project(name, own))) for name, own in clean.items())
    nearest = conventions.ranked(found, number)[0]
    assert nearest.changes == {"geometry": "crop", "channels": "y"}
    assert nearest.psnr == pytest.approx(number, abs=1e-5)
    said = conventions.summary(found, number)
    assert f"; {number:.2f} dB with centre crops of 256x256 and Y of YCbCr, 16 to 235, 0.00 dB from" in said


@pytest.fixture
def folder(photos, tmp_path):
    for name, pixels in photos.items():
        Image.fromarray(pixels).save(tmp_path / name)
        Image.fromarray(pixels[:40, :40]).convert("L").save(tmp_path / f"z-gray-{name}")
    return tmp_path


def test_the_command_reads_a_folder_and_says_how_many_images_it_used(folder, photos, restore):
    number = expected(("noise", "clipped8"), photos, restore)
    for path in folder.glob("z-*"):
        path.unlink()
    said = denoiselab("explain", MODEL, "--psnr", number, "--set", folder, "--sigma", SIGMA, "--json")
    assert said.json["conventions"][0]["changes"] == {"noise": "clipped8"}
    assert (said.json["images"], said.json["of"]) == (2, 2)
    said = denoiselab("explain", MODEL, "--psnr", 20, "--set", folder, "--sigma", SIGMA, "--images", 1)
    head, *rows, sentence, warning = said.out.splitlines()
    assert head.startswith(f"gaussian on 1 of 2 images of {folder}, sigma 25") and len(rows) == len(EXPECTED) + 1
    assert "of 70 combinations are within 0.05 dB" in sentence and "may differ" in warning
    distances = [abs(float(row.split()[0]) - 20) for row in rows]
    assert distances == sorted(distances)


def test_gray_images_have_no_colour_conventions(folder):
    for path in folder.glob("[ab].png"):
        path.unlink()
    said = denoiselab("explain", "colour_fast", "--psnr", 30, "--set", folder, "--sigma", 0, "--json")
    assert not any("channels" in one["changes"] for one in said.json["conventions"])
    clean, total = conventions.read(str(folder), 3, 1)
    assert total == 2 and [pixels.shape for _, pixels in clean] == [(40, 40, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "cbsd86"], "--set cbsd86: choose from: bsd68, cbsd68, cid22, kodak24, set12, or give a folder"),
        (["--set", "empty"], "--set empty: has no images"),
        (["--set", "tiny"], "images of 16x16 pixels are too small to cut a border of 8"),
    ],
)
def test_mistakes_give_one_line(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "tiny/one.png")
    said = denoiselab("explain", MODEL, "--psnr", 30, "--sigma", 25, *options)
    assert (said.code, said.out, said.err.splitlines()) == (1, "", [f"error: {message}"])
