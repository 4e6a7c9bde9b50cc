"""Training and judging without clean images: targets, held-out pixels, and a folder of noisy images from end to end."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import ndimage

from denoiselab import architectures, config, report
from denoiselab.config.noise import Gaussian
from denoiselab.data import noise_sampling, patches
from denoiselab.metrics import no_reference
from denoiselab.noise import synthesis
from denoiselab.runtime import distributed, paths, stage_outputs
from denoiselab.runtime.errors import UserError
from denoiselab.training import batches, jobs, loop, runner, supervision
from denoiselab.training.checkpoint import Checkpoint
from tests.conftest import composed, many_photos, photograph, run_stages

SPEC = Gaussian(kind="gaussian", sigma_255=25, per_channel=True, clip=False, quantise=False)
TINY = ["train.steps=4", "train.warmup_steps=0", "train.validate_every=2", "train.val_patches=4", "train.crop=32"]
SIZES = ["patches.size=48", "patches.stride=48", "patches.val_size=48", "evaluate.samples=2", "evaluate.resamples=100"]
NET = {"arch": "dncnn", "needs": "data/patches", "channels": 3, "depth": 4, "features": 16, "batch_norm": True}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_samplers_take_different_neighbours_of_every_cell():
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(10), indexing="ij")
    images = torch.stack([rows, columns]).float()[None].expand(50, -1, -1, -1)
    one, two = (supervision.subsample(images, chosen) for chosen in supervision.draw_subsamples(images, generator()))
    assert one.shape == two.shape == (50, 2, 3, 5)
    assert ((one - two).abs().sum(dim=1) == 1).all()  # a step across or down
    cells = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij"))
    assert (one.long() // 2 == cells).all() and (two.long() // 2 == cells).all()
    directions = {tuple(step) for step in (two - one).permute(0, 2, 3, 1).reshape(-1, 2).int().tolist()}
    assert directions == {(0, 1), (0, -1), (1, 0), (-1, 0)}


def test_the_loss_is_that_of_the_paper():
    """Against the formula, with a network whose gradient is known: f(y) = a y."""
    noisy = torch.rand(3, 2, 8, 8, generator=generator())
    factor = torch.tensor(0.5, requires_grad=True)
    batch = batches.Batch(torch.full_like(noisy, torch.nan), None, None, generator())
    mse = lambda output, batch: (output - batch.clean).square().mean()  # noqa: E731
    loss = supervision.neighbor2neighbor(lambda noisy, labels, clean=None: factor * noisy, noisy, batch, mse)
    one, two = (supervision.subsample(noisy, chosen) for chosen in supervision.draw_subsamples(noisy, generator()))
    residual, step, gamma = 0.5 * one - two, 0.5 * (one - two), supervision.GAMMA
    assert loss.item() == pytest.approx((residual**2 + gamma * (residual - step) ** 2).mean().item(), rel=1e-5)
    loss.backward()
    wanted = (2 * residual * one + 2 * gamma * (residual - step) * one).mean()  # nothing through the step
    assert factor.grad is not None and factor.grad.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_held_out_pixels_are_hidden_from_the_model_and_nothing_else():
    image = photograph()[:21, :30].astype(np.float32) / 255
    shown = no_reference.mask_array(image)
    changed = np.argwhere((shown != image).any(axis=2))
    assert {tuple(place) for place in changed} <= {(y, x) for y in range(1, 21, 4) for x in range(1, 30, 4)}
    assert len(changed) > 30
    assert shown[5, 9] == pytest.approx((image[4, 9] + image[6, 9] + image[5, 8] + image[5, 10]) / 4)
    assert no_reference.prediction_score(image, image) == 100
    assert no_reference.prediction_score(image, image + np.float32(0.1)) == pytest.approx(20, abs=1e-3)
    elsewhere = image.copy()
    elsewhere[::2] += 1
    assert no_reference.prediction_score(image, elsewhere) == 100


def test_held_out_pixels_tell_what_is_nearer_to_the_clean_image():
    """Their error is that against the clean image plus the noise's variance."""
    clean = torch.from_numpy(photograph()[:256, :256].astype(np.float32) / 255).permute(2, 0, 1)[None]
    noisy = synthesis.add(clean, generator(), SPEC)
    for blur in (1, 3, 7):
        made = torch.nn.functional.avg_pool2d(no_reference.mask(noisy), blur, 1, blur // 2, count_include_pad=False)
        error = (made - clean)[no_reference.HELD_OUT].square().mean().item() + (25 / 255) ** 2
        assert no_reference.prediction_score_batch(noisy, made).item() == pytest.approx(-10 * np.log10(error), abs=0.12)


def test_correlated_noise_is_told_from_independent_noise():
    clean = torch.from_numpy(photograph("coffee")[:256, :256].astype(np.float32) / 255).permute(2, 0, 1)[None]
    added = torch.randn(clean.shape, generator=generator()) * 15 / 255
    shared = (added + added.roll(1, 3)) / 2**0.5
    assert abs(no_reference.noise_correlation(clean + added)) < 0.1
    assert no_reference.noise_correlation(clean + shared) == pytest.approx(0.25, abs=0.06)  # 0.5 across, 0 down
    assert no_reference.structure(clean + added, clean) == pytest.approx(0, abs=0.02)
    blurred = torch.from_numpy(ndimage.gaussian_filter((clean + added).numpy(), (0, 0, 1, 1)))
    assert no_reference.structure(clean + added, blurred) > 0.2


@pytest.mark.parametrize("shape", [(7, 40), (12, 15), (40, 2)])
def test_images_too_small_to_tell_have_no_correlation(shape):
    noisy = np.random.default_rng(0).random((*shape, 3), np.float32)
    found = no_reference.measures(noisy, noisy * 0.9, noisy)
    assert np.isnan(found["noise_correlation"]) and np.isnan(found["structure"]) == (min(shape) < 8)
    assert np.isfinite([value for name, value in found.items() if name not in ("noise_correlation", "structure")]).all()


@pytest.fixture(scope="module")
def noisy_folder(tmp_path_factory):
    """A run on images of which nobody has clean ones."""
    root = tmp_path_factory.mktemp("noisy")
    many_photos(root / "photos")
    rng = np.random.default_rng(0)
    for path in (root / "photos").iterdir():
        pixels = np.asarray(Image.open(path)) + rng.normal(0, 20, (96, 128, 3))
        Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(path)
    params = composed("data=noisy_folder", f"data.path={root / 'photos'}", "model=[gaussian,nlm]", *SIZES, *TINY)
    tree = params.model_dump(mode="json", exclude_unset=True)
    tree["models"] |= {"net": NET}
    params = config.Params.model_validate(tree)
    with pytest.MonkeyPatch.context() as patch:
        run_stages(root, params)
        patch.chdir(root)
        report.write(params)
        yield root, params


def test_a_noisy_folder_ends_in_a_report_that_makes_no_psnr_up(noisy_folder):
    table = pd.read_csv(paths.COMPARISON).set_index("model")
    assert set(table.index) == {"noisy", "gaussian", "nlm", "net"}
    written = paths.REPORT_MD.read_text(encoding="utf-8")
    assert "> **There are no clean images, so there is no PSNR and no SSIM" in written
    for path in [paths.COMPARISON, paths.PAIRS, *paths.NOISY.parent.parent.glob("reports/evaluate/*/per_image.csv")]:
        assert not {"psnr", "ssim", "mse"} & set(",".join(pd.read_csv(path).columns).replace("_", ",").split(","))
    assert "held-out pixels (dB)" in written and "held-out pixels (dB)" in paths.COMPARISON_TEX.read_text()
    assert "PSNR (dB)" not in written + paths.REPORT_COST.read_text(encoding="utf-8")
    for model, row in table.iterrows():
        assert f"{row.held_out_mean:.3f} [{row.held_out_low:.3f}, {row.held_out_high:.3f}]" in written, model
    assert table.held_out_mean["gaussian"] > table.held_out_mean["noisy"]  # the mean of the neighbours
    assert table.sigma_255_mean["noisy"] == pytest.approx(20, abs=3)
    assert table.sigma_255_left_mean["gaussian"] < 10


def test_the_report_says_what_is_unknown_of_small_images(noisy_folder, monkeypatch):
    _, params = noisy_folder
    monkeypatch.setattr(stage_outputs, "evaluated", lambda name, file: paths.evaluation(name) / file)  # changed here
    tables = {path: path.read_bytes() for path in paths.evaluation("net").parent.glob("*/per_image.csv")}
    for path in tables:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False).assign(noise_correlation="nan", structure="nan")
        rows.to_csv(path, index=False)
    report.write(params)
    text = paths.REPORT_MD.read_text(encoding="utf-8")
    assert "should be that of the noise (unknown, because the noisy images are too small), and" in text
    assert "| – |" in text
    for path, content in tables.items():
        path.write_bytes(content)
    report.write(params)


def test_what_held_out_pixels_calibrate_is_near_the_best(noisy_folder):
    """The strength that they choose without clean images, against the PSNR with them."""
    history = pd.read_csv(paths.history("gaussian"))
    assert list(history.columns)[-1] == "val_held_out"
    chosen = history.strength[history.val_held_out.idxmax()]
    assert 0.5 < chosen < 1.5


def test_self_supervision_never_sees_a_clean_pixel(noisy_folder, monkeypatch):
    """Neither of a noisy folder nor of clean images with synthetic noise."""
    _, params = noisy_folder
    job = jobs.resolve(params, "net")
    stock, spec = runner._stock(job)
    assert (stock.clean[0] == patches.load(paths.PATCHES, "train")[0]).all() and spec.kind == "as_is"
    clean = patches.load(paths.PATCHES, "train")
    drawn = noise_sampling.fixed_training_noise(clean, None, SPEC, 0)
    again = noise_sampling.fixed_training_noise(clean, None, SPEC, 0)
    assert drawn.nbytes == 4 * clean.nbytes
    assert (drawn[3] == again[np.array([1, 3])][1]).all()
    assert not (drawn[3] == noise_sampling.fixed_training_noise(clean, None, SPEC, 1)[3]).any()
    assert (drawn[3] - clean[3]).std() == pytest.approx(25, abs=1)
    first = batches.build(batches.TrainingPatches(drawn), 4, 32, params.augment, 0, job.device)
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0)
    streamed = batches.build(batches.TrainingPatches(drawn), 4, 32, params.augment, 0, job.device)
    assert torch.equal(first(2).clean, streamed(2).clean)
    assert first(2).clean.min() < 0


def tiny(target: str, steps: int, **changes: object) -> config.Train:
    own = {"target": target, "steps": steps, "validate_every": 5, "crop": 32, "warmup_steps": 5, **changes}
    return composed().train.model_copy(update=own)


class Scored:
    """In validation's place: nothing is chosen."""

    def __call__(self, model):
        return {"held_out": 0.0}

    def preview(self, model):
        return None


def fit(settings: config.Train, checkpoint: Checkpoint | None = None, kill_at: int | None = None):
    torch.manual_seed(0)
    model = architectures.build({key: value for key, value in NET.items() if key != "needs"})
    pixels = np.stack(
        [photograph(name)[y : y + 64, 100:164] for name in ("astronaut", "coffee") for y in (20, 90, 160)]
    )
    inner = batches.ResidentBatches(batches.TrainingPatches(pixels), 4, 32, True, 0, torch.device("cpu"))

    class Killed:
        batch, steps_per_epoch = inner.batch, inner.steps_per_epoch

        def __call__(self, step):
            if step == kill_at:
                raise KeyboardInterrupt
            return inner(step)

    objective = lambda output, batch: (output - batch.clean).square().mean()  # noqa: E731
    device = torch.device("cpu")
    loop.fit(model, Killed(), Scored(), settings, SPEC, objective, device=device, checkpoint=checkpoint)
    return model


def test_a_killed_training_ends_with_the_same_bytes(tmp_path):
    whole = fit(tiny("self", 20)).state_dict()
    checkpoint = Checkpoint(tmp_path, "one")
    with checkpoint.held(), pytest.raises(KeyboardInterrupt):
        fit(tiny("self", 20), checkpoint, kill_at=13)
    with checkpoint.held():
        resumed = fit(tiny("self", 20), checkpoint).state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_shares_of_a_batch_add_up_to_its_loss(monkeypatch):
    """As noise is: what is drawn is the whole batch's, whichever share of it a process takes."""
    noisy = torch.rand(5, 3, 9, 8, generator=generator())
    mse = lambda output, batch: (output - batch.clean).square().mean()  # noqa: E731
    network = lambda noisy, labels, clean=None: noisy.square()  # noqa: E731

    def loss() -> float:
        return supervision.neighbor2neighbor(network, noisy, batches.Batch(noisy, None, None, generator()), mse).item()

    whole = loss()
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    parts = 0.0
    for rank, count in ((0, 3), (1, 2)):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts += count / 5 * loss()
    assert parts == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_what_self_supervision_costs():
    """A few hundred steps: several dB over the noisy input, and at most 2 dB behind a training with clean images."""
    patch = torch.from_numpy(photograph("chelsea")[60:188, 120:248].astype(np.float32) / 255).permute(2, 0, 1)[None]
    noisy = synthesis.add(patch, generator(), SPEC)

    def psnr(image: torch.Tensor) -> float:
        return -10 * (image - patch).square().mean().log10().item()

    restored = {}
    for target in ("clean", "self"):
        model = fit(tiny(target, 300)).eval()
        with torch.no_grad():
            restored[target] = psnr(model(noisy))
    assert restored["self"] > psnr(noisy) + 4
    assert restored["clean"] - 2 < restored["self"] < restored["clean"] + 0.3


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=folder"], "data: path is missing: say where your images are, -S data.path=FOLDER"),
        (["data=noisy_folder", "data.path=/x", "train.target=clean"], "train.target must be self with noise 'as_is'"),
        (["data=noisy_folder", "data.path=/x", "data.side=64"], "data.side must be null"),
        (["data=noisy_folder", "data.path=/x", "protocol.draws=2"], "protocol.draws must be 1 with noise 'as_is'"),
        (["data=polyu", "noise=as_is", "train.target=self"], "noise 'as_is': data polyu has clean images"),
        (["train.target=self", "train.loss=ssim"], "loss: ssim does not work with target self"),
        (["train.target=self", "augment=hair"], "augment: albumentations does not work with train.target self"),
    ],
)
def test_what_does_not_go_together_is_said_in_a_line(overrides, said):
    with pytest.raises(UserError, match=said):
        composed(*overrides)
