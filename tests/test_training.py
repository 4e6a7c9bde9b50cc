"""fit(): it learns, it repeats, it goes on where it was killed, it stops when it should."""

import math

import numpy as np
import pytest
import torch

from denoiselab import models, optim, training
from denoiselab.batches import ResidentBatches
from denoiselab.checkpoint import Checkpoint
from denoiselab.config import Train
from denoiselab.config.noise import Gaussian, Real
from denoiselab.metrics import batch_psnr

CPU = torch.device("cpu")
SPEC = Gaussian(kind="gaussian", sigma_255=25, per_channel=True, clip=False, quantise=False)
REAL = Real(kind="real", clip=True, quantise=True)
BLOCK = {"arch": "dncnn", "channels": 3, "depth": 3, "features": 8, "batch_norm": True}


@pytest.fixture
def patches(astronaut) -> np.ndarray:
    return np.stack([astronaut[y : y + 48, x : x + 48] for y in range(0, 400, 60) for x in range(0, 400, 60)])


def settings(params, **changes) -> Train:
    quick = {"steps": 40, "validate_every": 10, "warmup_steps": 5, "batch": 4, "crop": 32, "lr": 0.01, "patience": None}
    return params.train.model_copy(update=quick | changes)


class KilledError(Exception):
    pass


def fit(patches, settings, *, recorded=None, spec=SPEC, checkpoint=None, kill_at=None, block=BLOCK, validate=None):
    torch.manual_seed(0)
    model = models.build(block)
    clean = torch.from_numpy(patches[:4]).permute(0, 3, 1, 2).float() / 255
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def scores(model):
        psnr = batch_psnr(clean, model.eval()(noisy)).mean().item()
        return {"psnr": psnr, "ssim": -psnr}

    inner = ResidentBatches(patches, recorded, settings.batch, settings.crop, True, 0, CPU)

    class Killing:
        steps_per_epoch = inner.steps_per_epoch

        def __call__(self, step):
            if step == kill_at:
                raise KilledError
            return inner(step)

    run = training.fit(model, Killing(), validate or scores, settings, spec, device=CPU, checkpoint=checkpoint)
    return model, run


def same(a, b) -> bool:
    return all(torch.equal(x, b[key]) for key, x in a.items())


def test_it_learns(patches, params):
    _, run = fit(patches, settings(params, steps=120))
    assert run.history[-1]["loss"] < run.history[0]["loss"] / 2
    assert run.best["psnr"]["value"] == max(row["val_psnr"] for row in run.history)


def test_it_learns_from_real_pairs(patches, params):
    field = np.random.default_rng(0).normal(0, 25, patches.shape)
    noisy = (patches + field).round().clip(0, 255).astype(np.uint8)
    _, run = fit(patches, settings(params, steps=120), recorded=noisy, spec=REAL)
    untouched = ((noisy - patches.astype(float)) ** 2).mean() / 255**2
    assert run.history[-1]["loss"] < run.history[0]["loss"] / 2
    assert 0 < run.history[-1]["loss"] < 0.7 * untouched
    assert run.best["psnr"]["value"] > 20 + 1  # dB, of noise that is like it; unrestored: 20


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


def test_losses_by_hand():
    from denoiselab.losses import CHARBONNIER_EPSILON, LOSSES

    a, b = torch.tensor([[[[0.0, 3.0]]]]), torch.tensor([[[[4.0, 3.0]]]])
    assert LOSSES["mse"](a, b).item() == pytest.approx(8)
    assert LOSSES["l1"](a, b).item() == pytest.approx(2)
    expected = (math.sqrt(16 + CHARBONNIER_EPSILON**2) + CHARBONNIER_EPSILON) / 2
    assert LOSSES["charbonnier"](a, b).item() == pytest.approx(expected)
