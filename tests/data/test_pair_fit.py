"""Pairs whose images do not fit are found and named; shifts are measured, and corrected where asked."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from denoiselab.data import manifest, pair_fit
from denoiselab.data.fetch import fetch
from denoiselab.runtime.errors import UserError
from tests.conftest import composed, photograph

NAMES = ("astronaut", "chelsea", "coffee", "motorcycle_left")


def photo(name: str = "astronaut") -> np.ndarray:
    return photograph(name)[40:264, 30:254]


def noised(pixels: np.ndarray, sigma: float = 25) -> np.ndarray:
    return np.random.default_rng(0).normal(pixels, sigma).round().clip(0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def blurred(pixels: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), 2)


CHANGES = {
    "weak noise": lambda x: noised(x, 5),
    "strong noise": lambda x: noised(x, 127),
    "coarse JPEG": lambda x: jpeg(x, 10),
    "blur": blurred,
    "darker": lambda x: (0.4 * x).astype(np.uint8),
    "swapped channels": lambda x: x[:, :, ::-1],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", CHANGES)
def test_degraded_images_fit(name, change):
    fit = pair_fit.Pair(photo(name), np.ascontiguousarray(CHANGES[change](photo(name)))).measure()
    assert fit.fits
    assert fit.shift == (0, 0)


@pytest.mark.parametrize("sigma", [5, 50])
def test_other_images_do_not_fit(sigma):
    for name, other in zip(NAMES, NAMES[1:] + NAMES[:1], strict=True):
        fit = pair_fit.Pair(photo(name), noised(photo(other), sigma)).measure()
        assert not fit.fits
        assert fit.turn == ""


@pytest.mark.parametrize("back", pair_fit.TURNS)
def test_turned_images_are_told_with_the_way_back(back):
    clean = photo()
    turned = next(
        image
        for turn in pair_fit.TURNS.values()
        for image in [turn(clean)]
        if np.array_equal(pair_fit.TURNS[back](image), clean)
    )
    fit = pair_fit.Pair(clean, noised(turned)).measure()
    assert not fit.fits
    assert fit.turn == back


@pytest.mark.parametrize(("shift", "enlarged"), [((3, -5), 1), ((-2, 0), 1), ((0, 1), 1), ((12, 7), 1), ((-5, 9), 5)])
def test_shifts_are_measured_and_corrected(shift, enlarged):
    """Also in images that are reduced for it."""
    whole = cv2.resize(photo("coffee"), None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    down, right = shift
    height, width = whole.shape[:2]
    clean = whole[16 : height - 16, 16 : width - 16]
    noisy = noised(whole[16 - down : height - 16 - down, 16 - right : width - 16 - right])
    fit = pair_fit.Pair(clean, noisy).measure()
    assert fit.fits
    assert np.abs(np.subtract(fit.shift, shift)).max() <= (0 if enlarged == 1 else 1)
    one, two = pair_fit.aligned(clean, noisy, shift)
    assert one.shape == two.shape == (height - 32 - abs(down), width - 32 - abs(right), 3)
    again = pair_fit.Pair(one, two).measure()
    assert again.shift == (0, 0)


@pytest.mark.parametrize("pixels", [np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 200, np.uint8)])
def test_plain_images_cannot_be_judged(pixels):
    assert pair_fit.Pair(pixels, noised(pixels)).measure().fits


def folder(root, pairs: dict[str, tuple[np.ndarray, np.ndarray]]):
    for part, place in (("clean", 0), ("noisy", 1)):
        (root / part).mkdir(parents=True)
        for name, pair in pairs.items():
            Image.fromarray(np.ascontiguousarray(pair[place])).save(root / part / f"{name}.png")
    return root


def settings(root, *more: str):
    return composed("data=pairs", "noise=real", f"data.path={root}", *more).data


def test_pairs_that_do_not_fit_are_refused_by_name(tmp_path):
    clean = {name: photo(name) for name in NAMES}
    pairs = {name: (clean[name], noised(clean[name])) for name in NAMES}
    pairs["astronaut"], pairs["coffee"] = (
        (clean["astronaut"], pairs["coffee"][1]),
        (clean["coffee"], pairs["astronaut"][1]),
    )
    pairs["chelsea"] = (clean["chelsea"], np.rot90(pairs["chelsea"][1], 2))
    pairs["stranger"] = (photo("motorcycle_left")[::-1, ::-1], noised(photograph("astronaut")[250:474, 100:324]))
    root = folder(tmp_path / "pairs", pairs)
    with pytest.raises(UserError) as error:
        fetch(settings(root), tmp_path / "raw")
    said = str(error.value)
    assert said.startswith("data.path: 4 pairs do not fit: ")
    for text in (
        "astronaut: the noisy image fits coffee",
        "coffee: the noisy image fits astronaut",
        "chelsea: the noisy image fits when turned by 180 degrees",
        "stranger: the noisy image shows something else",
        "set data.allow_misfit=true",
    ):
        assert text in said
    fetch(settings(root, "data.allow_misfit=true", "data.allow_leak=true"), tmp_path / "raw")
    assert len(json.loads((tmp_path / "raw/dataset.json").read_text())["misfits"]) == 4


def test_shifted_pairs_are_told_and_aligned_where_asked(tmp_path, capsys):
    pairs = {name: (photo(name), noised(photo(name))) for name in NAMES}
    whole = photograph("astronaut")
    pairs["astronaut"] = (whole[40:264, 30:254], noised(whole[37:261, 34:258]))
    root = folder(tmp_path / "pairs", pairs)
    fetch(settings(root), tmp_path / "raw")
    assert "1 noisy images are shifted: astronaut by +3 rows and -4 columns; data.align=true" in capsys.readouterr().out
    rows = {row.image: row for row in manifest.read(tmp_path / "raw")}
    assert (rows["astronaut"].height, rows["astronaut"].width) == (224, 224)
    fetch(settings(root, "data.align=true"), tmp_path / "aligned")
    assert "cut to what both show" in capsys.readouterr().out
    rows = {row.image: row for row in manifest.read(tmp_path / "aligned")}
    assert (rows["astronaut"].height, rows["astronaut"].width) == (221, 220)
    assert (rows["coffee"].height, rows["coffee"].width) == (224, 224)
    one, two = (
        np.asarray(Image.open(tmp_path / "aligned" / name)).astype(float)
        for name in (rows["astronaut"].path, rows["astronaut"].noisy)
    )
    assert (one - two).std() < 26
