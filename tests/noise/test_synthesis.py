"""Noise models: moments, reproducibility, stored noise, and checks of settings."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import TypeAdapter

from denoiselab import config
from denoiselab.config import Params
from denoiselab.config.base import check
from denoiselab.config.noise import NoiseSpec
from denoiselab.data import manifest, noise_sampling, noisy_sets, patches
from denoiselab.data.fetch import fetch
from denoiselab.imaging import albumentations_adapter
from denoiselab.noise import synthesis
from denoiselab.runtime import seeding
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, composed

N = 400_000
SPECS: TypeAdapter = TypeAdapter(NoiseSpec)
FREE = {"clip": False, "quantise": False}
EIGHT_BIT = {"clip": True, "quantise": True}

# One example of every kind, valid as a test condition.
EXAMPLES = {
    "gaussian": {"sigma_255": 25, "per_channel": True} | FREE,
    "poisson": {"photons": 30} | FREE,
    "poisson_gaussian": {"gain": 0.5, "read_noise": 3} | EIGHT_BIT,
    "camera": {"gain": 0.5, "read_noise": 3} | FREE,
    "camera_jpeg": {"shot": 0.002, "sharpening": 0.5, "luma_blur": 0.5, "chroma_blur": 1, "quality": 90} | EIGHT_BIT,
    "speckle": {"sigma": 0.2} | FREE,
    "salt_pepper": {"amount": 0.2, "salt": 0.5, "per_channel": True} | EIGHT_BIT,
    "uniform": {"width_255": 40} | FREE,
    "jpeg": {"quality": 20} | EIGHT_BIT,
    "webp": {"quality": 20} | EIGHT_BIT,
    "iso": {"color_shift": [0.01, 0.05], "intensity": [0.3, 0.6]} | EIGHT_BIT,
    "multiplicative": {"factor": [0.5, 1.5], "per_channel": True, "per_pixel": False} | EIGHT_BIT,
    "downscale": {"factor": 2, "method": "bicubic"} | EIGHT_BIT,
    "real": EIGHT_BIT,
}
EXAMPLES = {kind: {"kind": kind} | fields for kind, fields in EXAMPLES.items()}
EXAMPLES["sometimes"] = {"kind": "sometimes", "p": 0.5, "noise": EXAMPLES["gaussian"]} | FREE
EXAMPLES["chain"] = {"kind": "chain", "steps": [EXAMPLES["real"], EXAMPLES["speckle"], EXAMPLES["jpeg"]]} | EIGHT_BIT
STORED = [kind for kind in EXAMPLES if kind != "sometimes"]  # for training only
FIXED = {"jpeg", "webp", "downscale", "real"}  # not random


def spec(kind: str, **fields) -> NoiseSpec:
    """The kind's example without quantisation and, if possible, clipping, with changed fields."""
    free = EIGHT_BIT if kind == "camera_jpeg" else FREE | {"clip": kind in ("iso", "multiplicative")}
    return SPECS.validate_python({**EXAMPLES[kind], **free, **fields})


def example(kind: str) -> NoiseSpec:
    return SPECS.validate_python(EXAMPLES[kind])


def draw(clean: torch.Tensor, kind: str, *, seed: str = "test", **fields) -> torch.Tensor:
    return synthesis.add(clean, seeding.generator(seed), spec(kind, **fields))


def flat(value: float, *shape: int) -> torch.Tensor:
    return torch.full(shape or (1, 1, N // 100, 100), value)


def photo(pixels: np.ndarray) -> torch.Tensor:
    """(H, W, C) uint8 as a batch of one."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None] / 255


def pixels(image: torch.Tensor) -> np.ndarray:
    return (image[0] * 255).round().byte().permute(1, 2, 0).numpy()


def mean_is(sample: torch.Tensor, mean: float, variance: float) -> None:
    assert sample.double().mean().item() == pytest.approx(mean, abs=5 * (variance / sample.numel()) ** 0.5)


def variance_is(sample: torch.Tensor, variance: float, kurtosis: float = 3) -> None:
    assert sample.double().var().item() == pytest.approx(variance, rel=5 * ((kurtosis - 1) / sample.numel()) ** 0.5)


def test_every_kind_has_an_example():
    assert EXAMPLES.keys() == synthesis.NOISES.keys() | {"real", "sometimes", "chain"}


# Moments.


@pytest.mark.parametrize("sigma", [0, 5, 25, 50])
def test_gaussian_has_its_mean_and_deviation(sigma):
    difference = (draw(flat(0.5), "gaussian", sigma_255=sigma) - 0.5).double()
    assert difference.mean().item() == pytest.approx(0, abs=5 * sigma / 255 / N**0.5 + 1e-9)
    assert difference.std().item() == pytest.approx(sigma / 255, rel=5 / (2 * N) ** 0.5, abs=1e-9)


def test_gaussian_channels_are_independent_or_the_same():
    difference = draw(flat(0.0, 1, 3, 500, 500), "gaussian")[0].flatten(1)
    assert torch.corrcoef(difference)[0, 1].abs() < 0.02
    noisy = draw(flat(0.5), "gaussian", per_channel=False).expand(1, 3, -1, -1)
    colour = draw(flat(0.5, 1, 3, N // 100, 100), "gaussian", per_channel=False)
    assert torch.equal(colour, noisy)
    assert len(noisy.unique()) > N / 10


def test_a_range_gives_each_image_its_own_level():
    levels = 255 * draw(torch.zeros(400, 1, 50, 50), "gaussian", sigma_255=[0, 55]).std(dim=(1, 2, 3))
    assert levels.min() < 3
    assert levels.max() > 52
    assert levels.mean().item() == pytest.approx(27.5, abs=5 * 55 / 12**0.5 / 20)


@pytest.mark.parametrize(
    ("kind", "field", "levels", "measure"),
    [
        ("poisson", "photons", [10, 40], lambda x: 0.5 / x.var(dim=(1, 2, 3))),
        ("poisson_gaussian", "gain", [0.5, 2], lambda x: 0.5 / x.var(dim=(1, 2, 3)) / 255),
        ("speckle", "sigma", [0.1, 0.4], lambda x: x.std(dim=(1, 2, 3)) / 0.5),
        ("salt_pepper", "amount", [0.1, 0.9], lambda x: (x != 0.5).float().mean(dim=(1, 2, 3))),
        ("uniform", "width_255", [10, 80], lambda x: 255 * (x - 0.5).abs().amax(dim=(1, 2, 3))),
    ],
)
def test_every_level_may_be_a_range(kind, field, levels, measure):
    others = {"read_noise": 0} if kind == "poisson_gaussian" else {}
    measured = measure(draw(flat(0.5, 60, 1, 100, 100), kind, **{field: levels}, **others))
    low, high = levels
    assert low * 0.93 < measured.min() < low + 0.15 * (high - low)
    assert high - 0.15 * (high - low) < measured.max() < high * 1.07


@pytest.mark.parametrize("clean", [0.02, 0.5, 1.0])
def test_poisson_counts_photons(clean):
    noisy = draw(flat(clean), "poisson", photons=30)
    mean_is(noisy, clean, clean / 30)
    variance_is(noisy, clean / 30, kurtosis=3 + 1 / (30 * clean))
    assert torch.allclose(30 * noisy, (30 * noisy).round(), atol=1e-4)


def test_poisson_leaves_black_as_it_is_also_below_zero():
    assert torch.equal(draw(torch.tensor([[[[0.0, -0.1]]]]), "poisson"), torch.zeros(1, 1, 1, 2))


@pytest.mark.parametrize("clean", [0.0, 0.1, 0.9])
def test_poisson_gaussian_adds_shot_and_read_noise(clean):
    white = 255 * 0.5
    noisy = draw(flat(clean), "poisson_gaussian", gain=0.5, read_noise=3)
    variance = clean / white + (3 / white) ** 2
    mean_is(noisy, clean, variance)
    variance_is(noisy, variance, kurtosis=3.1)


@pytest.mark.parametrize("clean", [0.0, 0.2, 1.0])
def test_speckle_grows_with_the_signal(clean):
    noisy = draw(flat(clean), "speckle", sigma=0.2)
    if clean == 0:
        assert torch.equal(noisy, flat(0.0))
    else:
        mean_is(noisy, clean, (0.2 * clean) ** 2)
        variance_is(noisy, (0.2 * clean) ** 2)


def test_salt_and_pepper_have_their_shares():
    noisy = draw(flat(0.5), "salt_pepper", amount=0.2, salt=0.3)
    salt, pepper = (noisy == 1).float(), (noisy == 0).float()
    mean_is(salt, 0.06, 0.06 * 0.94)
    mean_is(pepper, 0.14, 0.14 * 0.86)
    assert bool(((salt + pepper == 1) | (noisy == 0.5)).all())
    assert torch.equal(draw(flat(0.5), "salt_pepper", amount=1, salt=1), flat(1.0))
    assert torch.equal(draw(flat(0.5), "salt_pepper", amount=1, salt=0), flat(0.0))
    assert torch.equal(draw(flat(0.5), "salt_pepper", amount=0), flat(0.5))


def test_salt_and_pepper_hit_values_or_whole_pixels():
    clean = flat(0.5, 1, 3, 300, 300)
    hit = draw(clean, "salt_pepper", per_channel=True) != 0.5
    mean_is((hit[:, 0] & hit[:, 1]).float(), 0.04, 0.04)
    whole = draw(clean, "salt_pepper", per_channel=False)
    assert torch.equal(whole[:, :1].expand_as(whole), whole)
    mean_is((whole[:, 0] != 0.5).float(), 0.2, 0.16)


def test_uniform_has_its_range_and_variance():
    difference = draw(flat(0.5), "uniform", width_255=40) - 0.5
    width = 40 / 255
    assert width * 0.999 < -difference.min() <= width + 1e-6
    assert width * 0.999 < difference.max() <= width + 1e-6
    mean_is(difference, 0, width**2 / 3)
    variance_is(difference, width**2 / 3, kurtosis=1.8)


# Compression.


def through_pillow(image: np.ndarray, kind: str, quality: int) -> np.ndarray:
    file = io.BytesIO()
    options = {"subsampling": "4:2:0"} if kind == "jpeg" and image.shape[2] == 3 else {}
    Image.fromarray(image.squeeze()).save(file, kind, quality=quality, **options)
    mode = "L" if image.shape[2] == 1 else "RGB"
    return np.asarray(Image.open(file).convert(mode)).reshape(image.shape)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
@pytest.mark.parametrize("quality", [10, 60, 95])
@pytest.mark.parametrize("channels", [1, 3])
def test_compression_agrees_with_pillow(astronaut, kind, quality, channels):
    image = astronaut[:151, 150:283, :channels]
    ours = pixels(draw(photo(image), kind, quality=quality, **EIGHT_BIT)).astype(int)
    theirs = through_pillow(image, kind, quality).astype(int)
    assert np.abs(ours - theirs).mean() < 0.1 * np.abs(theirs - image.astype(int)).mean()
    assert np.abs(ours - image.astype(int)).mean() > 0.1


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_compression_keeps_the_order_of_the_channels(kind):
    red, green, blue = draw(
        flat(0.0, 1, 3, 32, 32) + torch.tensor([1.0, 0.2, 0.0]).view(1, 3, 1, 1), kind, **EIGHT_BIT
    )[0]
    assert red.min() > 0.9
    assert 0.1 < green.min() <= green.max() < 0.3
    assert blue.max() < 0.1


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_every_quality_of_a_range_is_used(astronaut, kind):
    image = photo(astronaut[60:108, 180:228])
    fixed = {draw(image, kind, quality=q, **EIGHT_BIT).numpy().tobytes(): q for q in (20, 22, 24)}
    between = {draw(image, kind, quality=q, **EIGHT_BIT).numpy().tobytes(): q for q in (21, 23)}
    assert len(fixed | between) == 5
    drawn = draw(image.expand(60, -1, -1, -1), kind, quality=[20, 24], **EIGHT_BIT)
    assert {(fixed | between)[one.numpy().tobytes()] for one in drawn} == set(range(20, 25))


# albumentations.


def seeds(count: int) -> list[int]:
    """Seeds passed to libraries with their own generators."""
    return torch.randint(synthesis.SEEDS, (count,), generator=seeding.generator("test")).tolist()


def test_iso_agrees_with_albumentations(astronaut):
    import albumentations

    clean = photo(astronaut[:63, 150:231]).expand(2, -1, -1, -1)
    noisy = draw(clean, "iso")
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert not torch.equal(noisy[0], noisy[1])
    for image, result, seed in zip(clean, noisy, seeds(2), strict=True):
        transform = albumentations.ISONoise(color_shift=(0.01, 0.05), intensity=(0.3, 0.6), p=1)
        compose = albumentations.Compose([transform], seed=seed)
        array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        assert np.array_equal(compose(image=array)["image"], result.permute(1, 2, 0).numpy())


def test_iso_is_stronger_with_more_intensity(astronaut):
    clean = photo(astronaut[:63, 150:231])
    weak, strong = ((draw(clean, "iso", intensity=[x, x]) - clean).std() for x in (0.2, 0.8))
    assert 0 < 2 * weak < strong


def test_iso_refuses_gray_images():
    with pytest.raises(UserError, match=r"^noise iso is for colour images; data\.channels is 1$"):
        draw(flat(0.5, 1, 1, 16, 16), "iso")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("per_pixel", [True, False])
def test_multiplicative_has_its_factors(per_channel, per_pixel):
    clean = flat(0.5, 30, 3, 41, 37)
    factor = draw(clean, "multiplicative", per_channel=per_channel, per_pixel=per_pixel) / clean
    assert 0.5 <= factor.min() < 0.55
    assert 1.45 < factor.max() <= 1.5
    assert bool((factor[:, :1] == factor).all()) != per_channel
    assert bool((factor[:, :, :1, :1] == factor).all()) != per_pixel
    assert len(factor[:, 0, 0, 0].unique()) == 30


# Resolution.


@pytest.mark.parametrize("method", ["area", "bicubic"])
@pytest.mark.parametrize("factor", [2, 3, 4, 16])
def test_downscale_keeps_shape_and_constants(method, factor):
    for height, width in ((17, 31), (1, 5), (64, 48)):
        noisy = draw(flat(0.3, 2, 3, height, width), "downscale", factor=factor, method=method)
        assert torch.allclose(noisy, flat(0.3, 2, 3, height, width), atol=1e-5)


def test_downscale_removes_fine_detail_only(astronaut):
    clean = photo(astronaut[:128, 150:278])
    area, bicubic = (draw(clean, "downscale", factor=4, method=m) for m in ("area", "bicubic"))
    assert (area - bicubic).abs().max() > 0.01
    for noisy in (area, bicubic):
        assert (noisy - clean).std() < 0.5 * clean.std()
        assert (noisy - clean).std() > 0.1 * clean.std()
    fine = torch.arange(64).remainder(2).float().expand(1, 1, 64, 64)  # above the Nyquist limit after downscaling
    assert (draw(fine, "downscale", method="area") - 0.5).abs().max() < 1e-5
    grain = torch.rand(1, 1, 128, 128, generator=seeding.generator("grain"))
    for method in ("area", "bicubic"):  # both are antialiased, so that little white noise remains
        assert draw(grain, "downscale", factor=4, method=method).std() < 0.35 * grain.std()


# Composition.


def test_sometimes_is_drawn_for_each_image():
    clean = flat(0.5, 400, 1, 4, 4)
    never, always, half = (draw(clean, "sometimes", p=p) != clean for p in (0, 1, 0.5))
    assert not never.any()
    assert always.flatten(1).any(1).all()
    hit = half.flatten(1)
    assert torch.equal(hit.any(1), hit.float().mean(1) > 0.9)
    mean_is(hit.any(1).float(), 0.5, 0.25)


def test_a_chain_applies_its_steps_in_turn():
    gaussian, pepper = EXAMPLES["gaussian"], EXAMPLES["salt_pepper"] | FREE
    clean = flat(0.5, 1, 1, 100, 100)
    first, last = (draw(clean, "chain", steps=steps) for steps in ([pepper, gaussian], [gaussian, pepper]))
    assert not ((first == 0) | (first == 1)).any()
    assert ((last == 0) | (last == 1)).float().mean().item() == pytest.approx(0.2, abs=0.02)
    generator = seeding.generator("test")
    expected = synthesis.add(clean, generator, SPECS.validate_python(gaussian))
    assert torch.equal(last, synthesis.add(expected, generator, SPECS.validate_python(pepper)))


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "speckle", "uniform", "downscale"])
def test_clip_and_quantise_come_last(kind, astronaut):
    clean = photo(astronaut[::8, ::8]).clamp(0.004, 1).round()
    free, clipped, quantised, both = (
        draw(clean, kind, clip=c, quantise=q) for c, q in ((False, False), (True, False), (False, True), (True, True))
    )
    assert free.max() > 1
    assert torch.equal(clipped, free.clamp(0, 1))
    assert torch.equal(quantised, (free * 255).round() / 255)
    assert torch.equal(both, (free.clamp(0, 1) * 255).round() / 255)
    assert not torch.equal(free, quantised)


def test_each_step_of_a_chain_clips_for_itself():
    steps = [EXAMPLES["gaussian"] | {"clip": True}, EXAMPLES["speckle"]]
    clean = flat(0.0, 1, 1, 50, 50)
    noisy = draw(clean, "chain", steps=steps)
    assert (noisy == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)  # speckle does not change black


def test_real_is_the_recorded_photograph(astronaut):
    clean, recorded = photo(astronaut[:40, :50]), photo(astronaut[100:140, :50])
    generator = seeding.generator("test")
    assert torch.equal(synthesis.add(clean, generator, spec("real", **EIGHT_BIT), recorded), recorded)
    chain = spec("chain", steps=[EXAMPLES["real"], EXAMPLES["gaussian"]])
    assert torch.equal(synthesis.add(clean, seeding.generator("test"), chain, recorded), draw(recorded, "gaussian"))
    always = spec("sometimes", p=1, noise=EXAMPLES["real"])
    assert torch.equal(synthesis.add(clean, generator, always, recorded), recorded)


def test_only_plain_gaussian_noise_has_a_known_level():
    assert synthesis.level(spec("gaussian", sigma_255=25)) == 25
    assert synthesis.level(spec("gaussian", sigma_255=[0, 25])) is None
    assert [kind for kind in EXAMPLES if synthesis.level(example(kind)) is not None] == ["gaussian"]


# Functions of the generator alone.


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("shape", [(2, 1, 33, 47), (3, 3, 33, 47), (1, 3, 17, 16), (1, 1, 1, 19)])
def test_noise_depends_on_image_and_seed_only(kind, shape):
    if kind in ("iso", "camera_jpeg"):
        shape = (shape[0], 3, *shape[2:])
    one = example(kind)
    clean = 0.1 + 0.8 * torch.rand(shape, generator=seeding.generator("clean"))
    recorded = torch.rand(shape, generator=seeding.generator("recorded"))
    before, state = clean.clone(), torch.get_rng_state()
    first, again, other = (
        synthesis.add(clean, seeding.generator(key, kind), one, recorded) for key in ("one", "one", "two")
    )
    assert first.shape == clean.shape
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, clean) or kind == "sometimes"
    assert torch.equal(clean, before)
    assert torch.equal(torch.get_rng_state(), state)
    if kind not in FIXED | {"sometimes"}:
        assert not torch.equal(first, other)
        if len(clean) > 1:  # images of a batch have different noise
            same = synthesis.add(
                clean[:1].expand_as(clean), seeding.generator("one"), one, recorded[:1].expand_as(clean)
            )
            assert not torch.equal(same[0], same[1])


# Stored noise.


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, astronaut) -> Path:
    """A folder of nine pairs of various sizes."""
    folder = tmp_path_factory.mktemp("pairs")
    for name in ("noisy", "clean"):
        (folder / name).mkdir()
    for n in range(9):
        clean = astronaut[50 * n : 50 * n + 71 + 2 * n, 40 * n : 40 * n + 83]
        recorded = np.random.default_rng(n).normal(clean, 20).clip(0, 255).astype(np.uint8)
        Image.fromarray(clean).save(folder / "clean" / f"{n}.png")
        Image.fromarray(recorded).save(folder / "noisy" / f"{n}.png")
    return folder


def parameters(pairs: Path, **changes) -> Params:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["data"] = composed("data=pairs", f"data.path={pairs}", "noise=real").data.model_dump()
    tree["data"] |= {"split": {"train": 0.3, "val": 0.3, "test": 0.4}}
    tree["patches"] = {"size": 32, "stride": 32, "val_size": 32, "scales": [1.0], "shard_mib": 64}
    tree["noise"] = {"name": "all", "train": EXAMPLES["gaussian"], "test": {kind: EXAMPLES[kind] for kind in STORED}}
    return check(Params, tree | changes)


@pytest.fixture(scope="module")
def raw(pairs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    fetch(parameters(pairs).data, folder / "raw")
    return folder / "raw"


Stored = dict[tuple[str, str, int], np.ndarray]


def stored(raw: Path, params: Params, out: Path) -> Stored:
    """Noisy images and patches by (condition, image or patch, draw)."""
    patches.cut(raw, params.patches, params.data.channels, out / "patches")
    noise_sampling.write(raw, out / "patches", params, out / "noisy")
    found: Stored = {}
    for name in noisy_sets.names(out / "noisy"):
        for test in noisy_sets.test(raw, out / "noisy", name, params.data.channels):
            found[name, test.image, test.draw] = test.noisy
        val = np.load(out / "noisy" / name / "val.npy")
        found |= {(name, p.id, 0): v for p, v in zip(patches.index(out / "patches", "val"), val, strict=True)}
    return found


@pytest.fixture(scope="module")
def base(pairs, raw, tmp_path_factory) -> Stored:
    return stored(raw, parameters(pairs), tmp_path_factory.mktemp("base"))


def copied(raw: Path, out: Path, rows: list[manifest.Row]) -> Path:
    """The same images with another manifest."""
    out.mkdir()
    for name in ("train", "val", "test", "noisy"):
        (out / name).symlink_to(raw / name)
    manifest.write(out, rows)
    return out


def same(some: Stored, base: Stored) -> None:
    for key, value in some.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, base[key]), key


def test_every_kind_is_stored(base, raw):
    assert {key[0] for key in base} == set(STORED)
    test, val = ([row.image for row in manifest.read(raw, split)] for split in ("test", "val"))
    assert min(len(test), len(val)) >= 2
    assert {key[1] for key in base} >= set(test)


def test_stored_noise_does_not_depend_on_order(base, raw, pairs, tmp_path):
    reverse = stored(copied(raw, tmp_path / "raw", manifest.read(raw)[::-1]), parameters(pairs), tmp_path)
    assert reverse.keys() == base.keys()
    same(reverse, base)


def test_stored_noise_does_not_depend_on_other_images(base, raw, pairs, tmp_path):
    rows = manifest.read(raw)
    first = {split: next(row.image for row in rows if row.split == split) for split in ("test", "val")}
    fewer = stored(
        copied(raw, tmp_path / "raw", [row for row in rows if row.image not in first.values()]),
        parameters(pairs),
        tmp_path,
    )
    assert 0 < len(fewer) < len(base)
    same(fewer, base)


def test_stored_noise_does_not_depend_on_shards(base, raw, pairs, tmp_path):
    params = parameters(pairs)
    single = params.model_copy(update={"patches": params.patches.model_copy(update={"shard_mib": 0})})
    sharded = stored(raw, single, tmp_path)
    assert len(list((tmp_path / "patches").glob("val-*.npy"))) > 1
    assert sharded.keys() == base.keys()
    same(sharded, base)


def test_stored_noise_does_not_depend_on_other_conditions(base, raw, pairs, tmp_path):
    few = {kind: EXAMPLES[kind] for kind in STORED[::-3]}
    some = stored(raw, parameters(pairs, noise={"name": "few", "train": EXAMPLES["real"], "test": few}), tmp_path)
    assert {key[0] for key in some} == few.keys()
    same(some, base)


def test_more_draws_do_not_change_the_first(base, raw, pairs, tmp_path):
    twice = stored(raw, parameters(pairs, protocol={"legacy_seed": False, "draws": 2}), tmp_path)
    assert base.keys() < twice.keys()
    same({key: value for key, value in twice.items() if key in base}, base)
    for kind, image, draw in twice.keys() - base.keys():
        assert draw == 1
        assert kind in FIXED | {"sometimes"} or not np.array_equal(twice[kind, image, 0], twice[kind, image, 1])


def test_another_seed_gives_other_noise(base, raw, pairs, tmp_path):
    other = stored(raw, parameters(pairs, seed=1), tmp_path)
    for key, value in other.items():
        assert key[0] == "sometimes" or np.array_equal(value, base[key]) == (key[0] in FIXED), key


def test_images_and_conditions_have_different_noise(raw, pairs, tmp_path):
    two = {"a": EXAMPLES["gaussian"], "b": EXAMPLES["gaussian"]}
    stored(raw, parameters(pairs, noise={"name": "two", "train": two["a"], "test": two}), tmp_path)
    fields = [
        (test.noisy - test.clean.astype(np.float32) / 255)[:70, :80].ravel()
        for name in two
        for test in noisy_sets.test(raw, tmp_path / "noisy", name, 3)
    ]
    assert len(fields) >= 4
    assert np.abs(np.corrcoef(fields) - np.eye(len(fields))).max() < 5 / len(fields[0]) ** 0.5


def test_stored_real_noise_is_the_photograph(base, raw):
    for row in manifest.read(raw, "test"):
        assert np.array_equal(base["real", row.image, 0] * 255, np.asarray(Image.open(raw / row.noisy)))


def test_changed_noise_files_are_detected(raw, pairs, tmp_path):
    one = {"name": "one", "train": EXAMPLES["gaussian"], "test": {"sigma25": EXAMPLES["gaussian"]}}
    stored(raw, parameters(pairs, noise=one), tmp_path)
    path = tmp_path / "noisy" / "sigma25" / "test-00000-0.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"test-00000-0.npy: differs from what was written; run `dvc repro -f add-noise`"
    ):
        list(noisy_sets.test(raw, tmp_path / "noisy", "sigma25", 3))


@pytest.mark.parametrize("ending", [FREE, EIGHT_BIT])
@pytest.mark.parametrize("channels", [1, 3])
def test_legacy_seeding_agrees_with_published_scripts(photos, tmp_path, ending, channels):
    tree = {"path": str(photos), "watch": str(photos), "channels": channels}
    folder = composed("data=folder", *(f"data.{key}={value}" for key, value in tree.items())).data.model_dump()
    test = {"sigma25": {"kind": "gaussian", "sigma_255": 25, "per_channel": True} | ending}
    params = parameters(
        photos,
        data=folder,
        noise={"name": "legacy", "train": test["sigma25"], "test": test},
        protocol={"legacy_seed": True, "draws": 1},
    )
    rows = [row for row in fetch(params.data, tmp_path / "raw") if row.split != "train"]
    train = next(row for row in manifest.read(tmp_path / "raw") if row.split == "train")
    as_test = [manifest.Row(**vars(row) | {"split": "test"}) for row in rows]
    manifest.write(tmp_path / "raw", [train, rows[0], *as_test])
    assert len(as_test) > 1
    stored(tmp_path / "raw", params, tmp_path)
    fields = []
    for image in noisy_sets.test(tmp_path / "raw", tmp_path / "noisy", "sigma25", channels):
        np.random.seed(0)
        expected = np.float32(image.clean / 255.0) + np.random.normal(0, 25 / 255, image.clean.shape)
        if ending["clip"]:
            expected = np.round(expected.clip(0, 1) * 255) / 255
        assert np.array_equal(image.noisy, expected.astype(np.float32))
        fields.append(image.noisy - image.clean / 255)
    if not ending["clip"]:
        assert all(np.allclose(field, fields[0], atol=1e-6) for field in fields)


@pytest.mark.parametrize("quantise", [False, True])
def test_half_of_the_images_are_clipped(quantise):
    clean = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    spec = SPECS.validate_python(EXAMPLES["gaussian"] | {"clip": "half", "quantise": quantise, "sigma_255": 40})
    noisy = synthesis.add(clean, torch.Generator().manual_seed(2), spec)
    free = synthesis.add(clean, torch.Generator().manual_seed(2), spec.model_copy(update=FREE))
    stored = free.clamp(0, 1)
    stored = (stored * 255).round() / 255 if quantise else stored
    changed = [n for n in range(64) if not torch.equal(noisy[n], free[n])]
    assert 20 <= len(changed) <= 44
    for n in range(64):
        assert torch.equal(noisy[n], stored[n] if n in changed else free[n])


# Checks of params.yaml.


def in_chain(*steps: dict) -> dict:
    return {"kind": "chain", "steps": list(steps)} | EIGHT_BIT


@cache
def default() -> str:
    return (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("part", "block", "message"),
    [
        ("test", EXAMPLES["real"], "noise 'x' needs noisy/clean pairs: data must be one of pairs"),
        ("train", in_chain(EXAMPLES["real"]), "noise 'x' needs noisy/clean pairs"),
        ("train", EXAMPLES["sometimes"] | {"noise": EXAMPLES["real"]}, "noise 'x' needs noisy/clean pairs"),
        ("test", EXAMPLES["gaussian"] | {"sigma_255": [5, 50]}, "test.c.sigma_255 must be one level"),
        ("test", EXAMPLES["jpeg"] | {"quality": [5, 50]}, "test.c.quality must be one level"),
        ("test", in_chain(EXAMPLES["poisson"] | {"photons": [5, 50]}), "test.c.photons must be one level"),
        (
            "test",
            in_chain(EXAMPLES["sometimes"] | {"noise": in_chain(EXAMPLES["speckle"] | {"sigma": [0, 1]})}),
            "test.c.sigma must be one level",
        ),
        ("test", EXAMPLES["gaussian"] | {"sigma_255": 0}, "test.c.sigma_255 must be above 0"),
        ("test", EXAMPLES["uniform"] | {"width_255": 0}, "test.c.width_255 must be above 0"),
        ("test", EXAMPLES["sometimes"], "test.c: sometimes is not allowed in tests"),
        ("train", EXAMPLES["iso"] | {"clip": False}, "clip must be true: albumentations clips"),
        ("train", EXAMPLES["iso"] | {"clip": "half"}, "clip must be true: albumentations clips"),
        ("train", EXAMPLES["jpeg"] | {"clip": "half"}, "clip and quantise must be true"),
        ("test", EXAMPLES["gaussian"] | {"clip": "half"}, "test.c.clip must be true or false"),
        ("test", in_chain(EXAMPLES["gaussian"] | {"clip": "half"}), "test.c.clip must be true or false"),
        ("train", EXAMPLES["jpeg"] | {"quality": 40.5}, "noise.train.quality: input should be a valid integer"),
        (
            "train",
            EXAMPLES["gaussian"] | {"sigma_255": [25, 5, 3]},
            "noise.train.sigma_255: tuple should have at most 2",
        ),
        ("train", EXAMPLES["jpeg"] | {"clip": False}, "clip and quantise must be true: this is noise of 8-bit images"),
        ("train", in_chain(EXAMPLES["webp"] | {"quantise": False}), "clip and quantise must be true"),
        ("train", in_chain(EXAMPLES["gaussian"], EXAMPLES["real"]), "real must be the first step of a chain"),
        (
            "train",
            in_chain(EXAMPLES["gaussian"], EXAMPLES["sometimes"] | {"noise": EXAMPLES["real"]}),
            "real must be the first step of a chain",
        ),
        ("train", EXAMPLES["gaussian"] | {"sigma_255": [50, 2]}, "the range must be [low, high], not [50.0, 2.0]"),
        ("train", EXAMPLES["jpeg"] | {"quality": [50, 2]}, "the range must be [low, high], not [50, 2]"),
        ("train", EXAMPLES["iso"] | {"intensity": [0.5, 0.2]}, "the range must be [low, high]"),
    ],
)
def test_invalid_noise_is_refused(part, block, message):
    tree = yaml.safe_load(default())
    tree["noise"] = {"name": "x", "train": EXAMPLES["gaussian"], "test": {"c": EXAMPLES["gaussian"]}}
    config.check(Params, tree)
    tree["noise"] |= {"train": block} if part == "train" else {"test": {"c": block}}
    with pytest.raises(UserError) as error:
        config.check(Params, tree)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind not in ("gaussian", "real", "chain", "sometimes")])
def test_the_legacy_seed_is_for_gaussian_noise(kind):
    tree = yaml.safe_load(default())
    tree["protocol"]["legacy_seed"] = True
    config.check(Params, tree)
    tree["noise"]["test"]["other"] = EXAMPLES[kind]
    with pytest.raises(UserError, match=r"protocol.legacy_seed requires gaussian noise with per_channel true"):
        config.check(Params, tree)


def test_the_legacy_seed_is_for_one_draw_and_independent_channels():
    tree = yaml.safe_load(default())
    tree["protocol"] = {"legacy_seed": True, "draws": 2}
    with pytest.raises(UserError, match=r"protocol.draws must be 1 with legacy_seed"):
        config.check(Params, tree)
    tree["protocol"]["draws"] = 1
    tree["noise"]["test"]["sigma25"]["per_channel"] = False
    with pytest.raises(UserError, match=r"requires gaussian noise with per_channel true"):
        config.check(Params, tree)


def test_noise_is_the_same_in_several_threads(astronaut):
    """albumentations' transforms hold their own random state."""
    image = astronaut[:64, :64].astype(np.float32) / 255

    def drawn(seed: int) -> np.ndarray:
        return albumentations_adapter.iso(image, seed, (0.01, 0.05), (0.1, 0.5))

    alone = [drawn(seed) for seed in range(80)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(drawn, range(80)))
    finally:
        sys.setswitchinterval(interval)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
