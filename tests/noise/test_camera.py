"""Camera noise: the table of cameras, and the moments of every step of a camera against its formula."""

import io
import json
import math

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import ndimage

from denoiselab.config import Params, check
from denoiselab.config.camera_noise import Camera, CameraJpeg
from denoiselab.imaging.tensors import planar
from denoiselab.noise import camera_jpeg, cameras, jpeg, sensor, synthesis
from denoiselab.runtime import seeding
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, photograph

ENDING = {"clip": True, "quantise": True}
FREE = {"clip": False, "quantise": False}
PLAIN = {"sharpening": 0, "luma_blur": 0, "chroma_blur": 0, "quality": 100} | ENDING
NAMES = ("astronaut", "chelsea", "coffee", "motorcycle_left")

# In the table's format, with values of our own: each camera's profiles as (ISO, a, b, marked as bad).
OWN = {
    "Acme": {
        "One": [(100, [2e-4, 1e-4, 3e-4], [4e-6, 1e-6, 9e-6]), (400, [8e-4, 4e-4, 12e-4], [16e-6, 4e-6, 36e-6])],
        "One X": [(100, [3e-5, 1e-5, 0.0], [0.0, 2e-8, 5e-8])],  # no fit of blue
        "Two": [(200, [9.0] * 3, [9.0] * 3, True), (200, [1e-5] * 3, [0.0] * 3), (100, [1e-6] * 3, [-1e-3] * 3)],
    },
    "Other": {"Two": [(100, [1e-6] * 3, [0.0] * 3)]},
}


@pytest.fixture(autouse=True)
def own_table(tmp_path, monkeypatch):
    """The table OWN in place of the public one."""
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"version": 0, "noiseprofiles": [_maker(*item) for item in OWN.items()]}))
    monkeypatch.setattr(cameras, "obtain", lambda *args, **kwargs: path)
    cameras.table.cache_clear()
    yield
    cameras.table.cache_clear()


def _maker(maker: str, models: dict) -> dict:
    keys = ("iso", "a", "b", "skip")
    models = [
        {"model": model, "profiles": [dict(zip(keys, row, strict=False)) for row in rows]}
        for model, rows in models.items()
    ]
    return {"maker": maker, "models": models}


def photos() -> torch.Tensor:
    return torch.cat([planar(photograph(name)[:256, :320] / np.float32(255)) for name in NAMES])


def generator() -> torch.Generator:
    return seeding.generator("camera")


def close_to(sample: torch.Tensor, mean: float, variance: float) -> None:
    """Mean and variance of a Gaussian sample, within five standard errors."""
    values = sample.double().flatten()
    assert values.mean().item() == pytest.approx(mean, abs=5 * (variance / len(values)) ** 0.5)
    assert values.var().item() == pytest.approx(variance, rel=5 * (2 / len(values)) ** 0.5)


# The table.


def test_cameras_are_found_with_and_without_maker():
    assert len(cameras.table()) == 4
    assert cameras.named("acme one").name == cameras.named(" ONE ").name == "Acme One"
    for name, similar in {
        "two": "Acme Two, Other Two",
        "acme on": "Acme One, Acme One X",
        "acmf one": "Acme One",
    }.items():
        with pytest.raises(UserError, match=f"camera '{name}' is not among the 4 of the table; similar: {similar}"):
            cameras.named(name)


def test_failed_and_marked_profiles_are_replaced():
    one_x, two = cameras.named("One X"), cameras.named("Acme Two")
    assert one_x.a.tolist() == [[3e-5, 1e-5, 1e-5]]
    assert one_x.b.tolist() == [[0.0, 2e-8, 2e-8]]
    assert two.iso.tolist() == [100, 200]
    assert two.a[1].tolist() == [1e-5] * 3


@pytest.mark.parametrize(("iso", "factor"), [(100, 1), (200, 2), (400, 4)])
@pytest.mark.parametrize("x", [0.02, 0.2, 0.7])
def test_noise_of_a_camera_in_linear_light(iso, factor, x):
    """variance = a x + b in every channel, interpolated between the profiles of ISO 100 and 400."""
    spec = Camera(kind="camera", camera="one", iso=iso, **FREE)
    clean = sensor.encode(torch.full((1, 3, 400, 500), x))
    light = sensor.decode(synthesis.add(clean, generator(), spec))
    for channel, a, b in zip(light[0], *OWN["Acme"]["One"][0][1:], strict=True):
        close_to(channel, x, factor * (a * x + b))
    gray = sensor.decode(synthesis.add(clean[:, :1], generator(), spec))
    close_to(gray, x, factor * (1e-4 * x + 1e-6))


def test_noise_by_gain_and_read_noise():
    """1 electron of 255 gain at white: variance (x white + read^2) / white^2."""
    light = sensor.decode(
        synthesis.add(
            sensor.encode(torch.full((1, 1, 400, 500), 0.3)),
            generator(),
            Camera(kind="camera", gain=4, read_noise=20, **FREE),
        )
    )
    close_to(light, 0.3, (0.3 * 1020 + 20**2) / 1020**2)


def test_a_range_of_iso_is_drawn_for_each_image():
    drawn = Camera(kind="camera", camera="one", iso=(100, 400), **FREE)
    a, _ = sensor.of_table(torch.zeros(400, 3, 1, 1), generator(), drawn)
    iso = (a[:, 1].flatten() / 1e-6).log()  # uniform logarithm
    assert iso.min().item() == pytest.approx(math.log(100), abs=0.02)
    assert iso.max().item() == pytest.approx(math.log(400), abs=0.02)
    assert iso.mean().item() == pytest.approx(math.log(200), abs=5 * math.log(4) / 12**0.5 / 20)


def test_a_negative_variance_is_none():
    noisy = synthesis.add(
        torch.full((1, 3, 9, 9), 0.5), generator(), Camera(kind="camera", camera="acme two", iso=100, **FREE)
    )
    assert (noisy - 0.5).abs().max() < 1e-6


def test_srgb_is_decoded_and_encoded_beyond_black_and_white():
    light = torch.linspace(-0.2, 1.5, 1000, dtype=torch.float64)
    assert torch.allclose(sensor.decode(sensor.encode(light)), light, atol=1e-6)
    assert sensor.decode(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0, 0.21404, 1], abs=1e-5)


# Settings.


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("camera", {"camera": "one"}, "iso is missing: that of one"),
        ("camera", {"gain": 1}, "read_noise, or camera and iso, must be set"),
        ("camera_jpeg", PLAIN, "shot, or camera and iso, must be set"),
        ("camera_jpeg", PLAIN | {"shot": 1e-3, "clip": False}, "this is noise of 8-bit images"),
        ("camera_jpeg", PLAIN | {"shot": [1e-3, 1e-4]}, "the range must be"),
    ],
)
def test_incomplete_camera_noise_is_refused(kind, keys, message):
    with pytest.raises(UserError, match=message):
        check(Camera if kind == "camera" else CameraJpeg, {"kind": kind} | FREE | keys)


@pytest.mark.parametrize(
    ("camera", "iso", "message"), [("one", 50, "has ISO 100 to 400"), ("three", 100, "is not among")]
)
@pytest.mark.parametrize("kind", ["camera", "camera_jpeg"])
def test_unknown_cameras_and_iso_are_refused(kind, camera, iso, message):
    spec = (Camera if kind == "camera" else CameraJpeg)(
        kind=kind, camera=camera, iso=iso, **PLAIN if kind != "camera" else FREE
    )
    with pytest.raises(UserError, match=message):
        synthesis.add(torch.zeros(1, 3, 8, 8), generator(), spec)


def test_one_camera_is_set_for_all_noise():
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for option in ("camera", "camera_jpeg"):
        noise = yaml.safe_load((ROOT / f"conf/noise/{option}.yaml").read_text(encoding="utf-8"))
        plain, own = (
            check(Params, tree | {"noise": noise | keys}).noise for keys in ({}, {"camera": "One", "iso": 200})
        )
        assert plain.train.camera is None
        assert plain.train.ranges()
        assert [*own.test] == ["camera"]
        for spec in (own.train, own.test["camera"]):
            assert (spec.camera, spec.iso) == ("One", 200)
            assert not {"gain", "shot"} & spec.model_dump(exclude_none=True).keys()


# The camera, step by step.


def test_the_way_to_raw_and_back():
    """Within one level of 255 but where the sensor saturates; against the formulas in NumPy."""
    images = photos()
    develop = camera_jpeg.Develop.draw(images, generator())
    raw = develop.raw(images)
    back = develop.image(raw * develop.gains)
    seen = jpeg.mix(linear(images), develop.matrix)
    bright = (seen.mean(dim=1, keepdim=True) > 0.9) | (seen.amax(dim=1, keepdim=True) > 1)
    assert bright.float().mean() < 0.05
    assert 255 * (back - images).abs().mul(~bright).max() < 1
    for n, image in enumerate(images.double().numpy()):
        toned = 0.5 - np.sin(np.arcsin(1 - 2 * image) / 3)
        signal = np.einsum("ck,khw->chw", develop.matrix[n].double().numpy(), np.maximum(toned, 1e-8) ** 2.2)
        expected = signal / develop.gains[n].double().numpy()
        dark = ~bright[n].numpy()
        assert np.abs(raw[n].numpy() - expected)[np.broadcast_to(dark, expected.shape)].max() < 1e-5
    white = develop.raw(torch.ones(4, 3, 2, 2))
    assert white.min() > 0.999  # saturates


def linear(images: torch.Tensor) -> torch.Tensor:
    return (0.5 - torch.sin(torch.asin(1 - 2 * images) / 3)).clamp(min=1e-8) ** 2.2


def test_cameras_are_drawn_from_their_ranges():
    develop = camera_jpeg.Develop.draw(torch.zeros(4000, 3, 1, 1), generator())
    red, green, blue = develop.gains[:, :, 0, 0].T
    for gain, (low, high) in ((red / green, (1.9, 2.4)), (blue / green, (1.5, 1.9))):
        assert low <= gain.min() < low + 0.01
        assert high - 0.01 < gain.max() <= high + 1e-6
    close_to(1 / green, 0.8, 0.1**2)
    assert torch.allclose(develop.matrix.sum(dim=2), torch.ones(4000, 3))  # white stays white
    shot, read = camera_jpeg.levels(
        torch.zeros(4000, 3, 1, 1), generator(), CameraJpeg(kind="camera_jpeg", shot=(1e-4, 0.012), **PLAIN)
    )
    assert shot.log().mean().item() == pytest.approx(math.log(1e-4 * 0.012) / 2, abs=5 * math.log(120) / 12**0.5 / 63)
    close_to(read.log() - 2.18 * shot.log() - 1.20, 0, 0.26**2)


@pytest.mark.parametrize("x", [0.0, 0.1, 0.6])
def test_shot_and_read_noise_of_the_mosaic(x):
    noise = camera_jpeg.saturated(torch.full((1, 1, 400, 500), x), torch.tensor(4e-3), torch.tensor(1e-4), generator())
    close_to(noise, 0, 4e-3 * x + 1e-4)


def test_the_sensor_saturates():
    noise = camera_jpeg.saturated(
        torch.full((1, 1, 400, 500), 1.0), torch.tensor(4e-3), torch.tensor(1e-4), generator()
    )
    assert noise.max() == 0
    assert (noise < 0).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_the_mosaic_takes_one_colour_of_each_pixel():
    colours = torch.arange(3.0).reshape(1, 3, 1, 1).expand(2, 3, 4, 4)
    mosaic = camera_jpeg.of_site(colours, camera_jpeg.bayer(torch.tensor([[0, 0], [1, 0]]), 4, 4))
    assert mosaic[0, 0, :2].tolist() == [[0, 1, 0, 1], [1, 2, 1, 2]]
    assert mosaic[1, 0, :2].tolist() == [[1, 2, 1, 2], [0, 1, 0, 1]]


@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_demosaicking_is_exact_for_gradients(blend):
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    ramps = (0.3 + 0.01 * y - 0.005 * x).expand(1, 3, -1, -1)
    for phase in ([0, 0], [0, 1], [1, 0], [1, 1]):
        site = camera_jpeg.bayer(torch.tensor([phase]), 20, 24)
        found = camera_jpeg.demosaicked(camera_jpeg.of_site(ramps, site), site, torch.tensor(blend))
        assert torch.allclose(found[:, :, 2:-2, 2:-2], ramps[:, :, 2:-2, 2:-2], atol=1e-6)


def test_bilinear_demosaicking_agrees_with_opencv():
    pixels = photograph("coffee")[:64, :96]
    site = camera_jpeg.bayer(torch.tensor([[0, 0]]), 64, 96)
    mosaic = camera_jpeg.of_site(planar(pixels.astype(np.float32)), site)
    found = camera_jpeg.demosaicked(mosaic, site, torch.tensor(0.0))[0].permute(1, 2, 0).numpy()
    expected = cv2.cvtColor(mosaic[0, 0].numpy().astype(np.uint8), cv2.COLOR_BayerRGGB2RGB)
    assert np.abs(found - expected)[2:-2, 2:-2].max() <= 0.5


@pytest.mark.parametrize(("blend", "filters"), [(0.0, camera_jpeg.BILINEAR), (1.0, camera_jpeg.MALVAR)])
def test_demosaicking_changes_the_variance_by_the_squared_filters(blend, filters):
    site = camera_jpeg.bayer(torch.tensor([[0, 0]]), 800, 800)
    noise = torch.randn((1, 1, 800, 800), generator=generator())
    found = camera_jpeg.demosaicked(noise, site, torch.tensor(blend))[0, :, 2:-2, 2:-2]
    gains = [1.0, *(sum(w * w for row in one for w in row) / 64 for one in filters)]
    for channel, choices in zip(found, camera_jpeg.ESTIMATES, strict=True):
        for number, choice in enumerate(choices):
            close_to(channel[number // 2 :: 2, number % 2 :: 2], 0, gains[choice])


@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_the_blur_is_gaussian(sigma):
    spec = CameraJpeg(kind="camera_jpeg", shot=1e-3, **PLAIN | {"luma_blur": sigma, "chroma_blur": sigma})
    dot = torch.zeros(1, 3, 33, 40)
    dot[0, :, 16, 20] = torch.tensor([1.0, 0.5, -0.3])
    found = camera_jpeg.finished(dot, generator(), spec)[0].numpy()
    expected = np.stack([ndimage.gaussian_filter(plane, sigma, truncate=6) for plane in dot[0].numpy()])
    assert np.abs(found - expected).max() < 2e-4


@pytest.mark.parametrize(("sharpening", "luma_blur", "chroma_blur"), [(0.8, 0.0, 0.0), (0.5, 0.7, 1.5)])
def test_blur_and_sharpening_change_the_variance_by_their_response(sharpening, luma_blur, chroma_blur):
    levels = {"sharpening": sharpening, "luma_blur": luma_blur, "chroma_blur": chroma_blur}
    spec = CameraJpeg(kind="camera_jpeg", shot=1e-3, **PLAIN | levels)
    noise = torch.randn((1, 3, 500, 500), generator=generator())
    before, after = (jpeg.mix(one, jpeg.TO_YCC)[0] for one in (noise, camera_jpeg.finished(noise, generator(), spec)))
    f = np.fft.fftfreq(500)
    squared = f[:, None] ** 2 + f**2
    kept = np.exp(-4 * np.pi**2 * luma_blur**2 * squared)
    kept *= (1 + sharpening * (1 - np.exp(-2 * np.pi**2 * squared))) ** 2
    for n, power in enumerate((kept, *[np.exp(-4 * np.pi**2 * chroma_blur**2 * squared)] * 2)):
        found = (after[n].var() / before[n].var()).item()
        assert found == pytest.approx(power.mean(), rel=0.05)


@pytest.mark.parametrize("quality", [30, 75, 92, 100])
def test_jpeg_agrees_with_pillow(quality):
    """But for the rounding of colours and coefficients."""
    images = photos()[:, :, :, :300]  # not a multiple of 16
    out = jpeg.compressed(images, torch.full((4,), float(quality)), torch.zeros(4, 2, dtype=torch.long))
    for image, found in zip(images, out, strict=True):
        stream = io.BytesIO()
        pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=2)
        expected = np.asarray(Image.open(stream)).astype(np.float32)
        difference = 255 * found.permute(1, 2, 0).numpy() - expected
        assert np.abs(difference).mean() < 0.9
        assert np.square(difference).mean() < 0.3 * np.square(pixels - expected).mean()


def test_jpeg_of_a_crop_is_the_crop_of_the_jpeg():
    images = photos()[:2]
    quality = torch.tensor([60.0, 85.0])
    whole = jpeg.compressed(images, quality, torch.zeros(2, 2, dtype=torch.long))
    crop = jpeg.compressed(images[:, :, 21:121, 37:165], quality, torch.tensor([[21 % 16, 37 % 16]] * 2))
    assert torch.allclose(crop[:, :, 16:-16, 16:-16], whole[:, :, 37:105, 53:149], atol=1e-5)


# The whole camera.


def test_without_noise_only_the_rounding_of_jpeg_remains():
    """The chroma detail that 4:2:0 loses is kept."""
    images = photos()
    silent = CameraJpeg(kind="camera_jpeg", shot=1e-12, **PLAIN)
    error = 255 * (synthesis.add(images, generator(), silent) - images).abs()
    assert error.mean() < 0.6
    assert error.max() < 4
    lossy = jpeg.compressed(images, torch.full((4,), 100.0), torch.zeros(4, 2, dtype=torch.long))
    assert 255 * (lossy - images).abs().mean() > 1.2


def test_noise_is_correlated_and_weaker_in_highlights_and_vanishes_in_white():
    clean = torch.tensor([0.4, 0.8, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, 128, 128)
    spec = CameraJpeg(kind="camera_jpeg", shot=1e-3, **PLAIN | {"luma_blur": 0.5, "chroma_blur": 1, "quality": 95})
    noise = (synthesis.add(clean, generator(), spec) - clean).mean(dim=1)
    middle, bright, white = noise.flatten(1).std(dim=1)
    assert middle > 1.2 * bright
    assert white < 0.2 / 255
    centred = noise[0] - noise[0].mean()
    correlation = (centred[:, 1:] * centred[:, :-1]).mean() / centred.square().mean()
    assert 0.3 < correlation < 0.9


def test_a_camera_sets_the_noise_of_its_jpeg():
    images = photos()[:1, :, :128, :128]
    plain = {"kind": "camera_jpeg"} | PLAIN
    low, high = (
        synthesis.add(images, generator(), CameraJpeg(**plain | {"camera": "one", "iso": iso})) - images
        for iso in (100, 400)
    )
    assert (high.var() / low.var()).item() == pytest.approx(4, rel=0.15)


def test_gray_images_are_refused():
    with pytest.raises(UserError, match="camera_jpeg is for colour images"):
        synthesis.add(torch.zeros(1, 1, 8, 8), generator(), CameraJpeg(kind="camera_jpeg", shot=1e-3, **PLAIN))
