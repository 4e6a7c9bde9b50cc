"""fit(): it learns, it repeats, it goes on where it was killed, it stops when it should."""

import math

import numpy as np
import pytest
import torch

from denoiselab import models, optim, training
from denoiselab.batches import Batches
from denoiselab.checkpoint import Checkpoint
from denoiselab.config import Gaussian, Train
from denoiselab.metrics import batch_psnr

CPU = torch.device("cpu")
SPEC = Gaussian(kind="gaussian", sigma_255=25, clip=False)
BLOCK = {"arch": "dncnn", "channels": 3, "depth": 3, "features": 8, "batch_norm": True}


@pytest.fixture
def patches(astronaut) -> np.ndarray:
    return np.stack([astronaut[y : y + 48, x : x + 48] for y in range(0, 400, 60) for x in range(0, 400, 60)])


def settings(params, **changes) -> Train:
    quick = {"steps": 40, "validate_every": 10, "warmup_steps": 5, "batch": 4, "crop": 32, "lr": 0.01, "patience": None}
    return params.train.model_copy(update=quick | changes)


class KilledError(Exception):
    pass


def fit(patches, settings, *, checkpoint=None, kill_at=None, block=BLOCK, validate=None):
    torch.manual_seed(0)
    model = models.build(block)
    clean = torch.from_numpy(patches[:4]).permute(0, 3, 1, 2).float() / 255
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def scores(model):
        psnr = batch_psnr(clean, model.eval()(noisy)).mean().item()
        return {"psnr": psnr, "ssim": -psnr}

    inner = Batches(patches, settings.batch, settings.crop, 0, CPU)

    class Killing:
        steps_per_epoch = inner.steps_per_epoch

        def __call__(self, step):
            if step == kill_at:
                raise KilledError
            return inner(step)

    run = training.fit(model, Killing(), validate or scores, settings, SPEC, device=CPU, checkpoint=checkpoint)
    return model, run


def same(a, b) -> bool:
    return all(torch.equal(x, b[key]) for key, x in a.items())


def test_it_learns(patches, params):
    _, run = fit(patches, settings(params, steps=120))
    assert run.history[-1]["loss"] < run.history[0]["loss"] / 2
    assert run.best["psnr"]["value"] == max(row["val_psnr"] for row in run.history)


def test_best_weights_are_those_of_their_step(patches, params):
    _, run = fit(patches, settings(params))
    assert run.best["psnr"]["step"] == max(run.history, key=lambda r: r["val_psnr"])["step"]
    assert run.best["ssim"]["step"] == max(run.history, key=lambda r: r["val_ssim"])["step"]
    assert run.best["psnr"]["step"] != run.best["ssim"]["step"]
    assert not same(run.best["psnr"]["weights"], run.best["ssim"]["weights"])


@pytest.mark.parametrize("kill_at", [3, 10, 27, 39])
def test_a_killed_training_ends_with_the_same_bytes(patches, params, tmp_path, kill_at):
    whole, run = fit(patches, settings(params))
    checkpoint = Checkpoint(tmp_path, "x")
    with pytest.raises(KilledError):
        fit(patches, settings(params), checkpoint=checkpoint, kill_at=kill_at)
    assert checkpoint.path.exists() == (kill_at >= 10)
    model, resumed = fit(patches, settings(params), checkpoint=checkpoint)
    assert same(whole.state_dict(), model.state_dict())
    assert resumed.history == run.history
    assert same(run.best["psnr"]["weights"], resumed.best["psnr"]["weights"])


def test_a_finished_training_is_not_repeated(patches, params, tmp_path):
    checkpoint = Checkpoint(tmp_path, "x")
    first, _ = fit(patches, settings(params), checkpoint=checkpoint)
    second, _ = fit(patches, settings(params), checkpoint=checkpoint, kill_at=0)
    assert same(first.state_dict(), second.state_dict())


def test_a_damaged_checkpoint_is_set_aside_and_named(patches, params, tmp_path, capsys):
    whole, _ = fit(patches, settings(params))
    checkpoint = Checkpoint(tmp_path, "x")
    fit(patches, settings(params), checkpoint=checkpoint)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:1000])
    model, _ = fit(patches, settings(params), checkpoint=checkpoint)
    assert same(whole.state_dict(), model.state_dict())
    assert "checkpoint is damaged" in capsys.readouterr().err


def test_old_checkpoints_are_removed(tmp_path):
    for n in range(30):
        with Checkpoint(tmp_path, str(n)).held():
            pass
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 20


def test_a_loss_that_is_not_finite_stops_it(patches, params):
    with pytest.raises(ValueError, match="the loss or a score is not finite by step"):
        fit(patches, settings(params, lr=1e30, grad_clip=None, warmup_steps=0))


def test_early_stopping_counts_validations_without_a_better_psnr(patches, params):
    values = iter([1.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    _, run = fit(
        patches, settings(params, steps=60, patience=2), validate=lambda _: {"psnr": next(values), "ssim": 0.0}
    )
    assert run.step == 40


def test_the_schedule_warms_up_and_comes_down(params):
    s = settings(params, steps=105, warmup_steps=5, lr=1.0)
    rates = [optim.learning_rate(s, step) for step in range(106)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[55] == pytest.approx((1 + s.final_lr) / 2)
    assert rates[105] == pytest.approx(s.final_lr)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_a_batch_is_a_function_of_seed_and_step(patches):
    a, b = Batches(patches, 4, 32, 0, CPU), Batches(patches, 4, 32, 0, CPU)
    for step in (7, 0, 100):
        assert torch.equal(a(step)[0], b(step)[0])
    assert not torch.equal(a(0)[0], Batches(patches, 4, 32, 1, CPU)(0)[0])


def test_an_epoch_has_every_patch_once(patches):
    numbered = np.zeros_like(patches[:12]) + np.arange(12, dtype=np.uint8)[:, None, None, None]
    batches = Batches(numbered, 4, None, 0, CPU)
    assert batches.steps_per_epoch == 3
    seen = [int(x) for step in range(3) for x in (batches(step)[0][:, 0, 0, 0] * 255).round()]
    assert sorted(seen) == list(range(12))


def test_crops_are_windows_in_one_of_eight_orientations(astronaut):
    patch = astronaut[100:110, 100:110]
    batches = Batches(patch[None], 1, 8, 0, CPU)
    windows = {}
    for top in range(3):
        for left in range(3):
            window = patch[top : top + 8, left : left + 8]
            for turns in range(4):
                for mirrored in (window, window[:, ::-1]):
                    windows[np.rot90(mirrored, turns).tobytes()] = (top, left)
    orientations = set()
    for step in range(300):
        crop = (batches(step)[0][0] * 255).round().byte().permute(1, 2, 0).numpy()
        assert crop.tobytes() in windows
        orientations.add(crop.tobytes())
    assert len(orientations) == 72


def test_losses_by_hand():
    from denoiselab.losses import CHARBONNIER_EPSILON, LOSSES

    a, b = torch.tensor([[[[0.0, 3.0]]]]), torch.tensor([[[[4.0, 3.0]]]])
    assert LOSSES["mse"](a, b).item() == pytest.approx(8)
    assert LOSSES["l1"](a, b).item() == pytest.approx(2)
    expected = (math.sqrt(16 + CHARBONNIER_EPSILON**2) + CHARBONNIER_EPSILON) / 2
    assert LOSSES["charbonnier"](a, b).item() == pytest.approx(expected)
