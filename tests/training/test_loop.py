"""fit(): it learns, it repeats, it goes on where it was killed, it stops when it should."""

import errno
import math
import os
import shutil

import numpy as np
import pytest
import torch

from denoiselab import architectures
from denoiselab.config.noise import Gaussian, Real
from denoiselab.config.train import Freeze, Train
from denoiselab.metrics import batched
from denoiselab.noise import synthesis
from denoiselab.runtime import devices, paths
from denoiselab.runtime.errors import UserError
from denoiselab.training import loop, losses, optimizer
from denoiselab.training.batches import ResidentBatches, TrainingPatches
from denoiselab.training.checkpoint import Checkpoint

CPU = torch.device("cpu")
SPEC = Gaussian(kind="gaussian", sigma_255=25, per_channel=True, clip=False, quantise=False)
REAL = Real(kind="real", clip=True, quantise=True)
BLOCK = {"arch": "dncnn", "channels": 3, "depth": 3, "features": 8, "batch_norm": True}


@pytest.fixture
def patches(astronaut) -> np.ndarray:
    return np.stack([astronaut[y : y + 48, x : x + 48] for y in range(0, 400, 60) for x in range(0, 400, 60)])


def settings(params, **changes) -> Train:
    quick = {"steps": 40, "validate_every": 10, "warmup_steps": 5, "batch": 4, "crop": 32, "lr": 0.01, "patience": None}
    if "schedule" in changes:
        changes["schedule"] = params.train.schedule.model_copy(update=changes["schedule"])
    return params.train.model_copy(update=quick | changes)


class Scores:
    """Validation on four patches; the SSIM is made up so that its best is elsewhere."""

    def __init__(self, patches):
        self.clean = torch.from_numpy(patches[:4]).permute(0, 3, 1, 2).float() / 255
        noise = torch.randn(self.clean.shape, generator=torch.Generator().manual_seed(1))
        self.noisy = self.clean + 0.1 * noise

    @torch.no_grad()
    def __call__(self, model):
        psnr = batched.psnr(self.clean, model.eval()(self.noisy)).mean().item()
        return {"psnr": psnr, "ssim": -psnr}

    @torch.no_grad()
    def preview(self, model):
        return (model.eval()(self.noisy).clamp(0, 1) * 255).byte()


class Told(Scores):
    """Validation with the PSNR it is told."""

    def __init__(self, patches, values):
        super().__init__(patches)
        self.values = iter(values)

    def __call__(self, model):
        return {"psnr": next(self.values), "ssim": 0.0}


class KilledError(Exception):
    pass


def fit(patches, settings, *, recorded=None, spec=SPEC, checkpoint=None, kill_at=None, block=BLOCK, validate=None):
    torch.manual_seed(0)
    model = architectures.build(block)
    inner = ResidentBatches(TrainingPatches(patches, recorded), settings.batch, settings.crop, True, 0, CPU)

    class Killing:
        batch, steps_per_epoch = inner.batch, inner.steps_per_epoch

        def __call__(self, step):
            if step == kill_at:
                raise KilledError
            return inner(step)

    loss = losses.build(settings.loss)
    objective = lambda output, batch: loss(output, batch.clean)  # noqa: E731
    validate = validate or Scores(patches)
    run = loop.fit(model, Killing(), validate, settings, spec, objective, device=CPU, checkpoint=checkpoint)
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


EVERYTHING = {
    "ema": 0.9,
    "schedule": {"kind": "plateau", "gamma": 0.5, "patience": 1},
    "freeze": Freeze(layers=["layers.0", "layers.2"], patience=1),
    "loss": {"l1": 1.0, "ssim": 0.1},
}


@pytest.mark.parametrize(
    "changes",
    [{"precision": "float32"}, {"precision": "bfloat16"}, EVERYTHING],
    ids=["float32", "bfloat16", "everything"],
)
@pytest.mark.parametrize("kill_at", [3, 10, 27, 39])
def test_a_killed_training_ends_with_the_same_bytes(patches, params, tmp_path, kill_at, changes):
    whole, run = fit(patches, settings(params, **changes))
    checkpoint = Checkpoint(tmp_path, "x")
    with pytest.raises(KilledError):
        fit(patches, settings(params, **changes), checkpoint=checkpoint, kill_at=kill_at)
    assert checkpoint.path.exists() == (kill_at >= 10)
    model, resumed = fit(patches, settings(params, **changes), checkpoint=checkpoint)
    assert same(whole.state_dict(), model.state_dict())
    assert resumed.history == run.history
    assert same(run.best["psnr"]["weights"], resumed.best["psnr"]["weights"])
    assert {name: step for name, (step, _) in resumed.previews.items()} == {"first": 10, "middle": 20, "last": 40}
    for name, (_, preview) in run.previews.items():
        assert torch.equal(preview, resumed.previews[name][1])


def test_the_precision_of_auto_is_that_of_the_device(patches, params, monkeypatch):
    trained = {name: fit(patches, settings(params, precision=name))[0].state_dict() for name in ("float32", "bfloat16")}
    assert not same(trained["float32"], trained["bfloat16"])
    for has, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "_has_bfloat16", lambda device, has=has: has)
        assert same(fit(patches, settings(params, precision="auto"))[0].state_dict(), trained[expected])


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


def test_the_checkpoint_of_a_running_training_stays(tmp_path):
    with Checkpoint(tmp_path, "running").held():
        os.utime(tmp_path / "running", (0, 0))
        for n in range(30):
            with Checkpoint(tmp_path, str(n)).held():
                pass
        assert (tmp_path / "running").is_dir()


def test_outputs_of_evaluations_push_out_no_checkpoint(tmp_path):
    with Checkpoint(tmp_path, "killed").held():
        pass
    for n in range(30):
        (tmp_path / f"{paths.EVALUATION}{n}").mkdir()
    with Checkpoint(tmp_path, "next").held():
        pass
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} >= {"killed", "next"}
    assert len(list(tmp_path.glob(f"{paths.EVALUATION}*"))) == 20


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), MemoryError(), RuntimeError("can't allocate memory: 8 bytes")]
)
def test_a_checkpoint_that_cannot_be_read_now_is_not_set_aside(tmp_path, monkeypatch, error):
    checkpoint = Checkpoint(tmp_path, "x")
    checkpoint.save({"step": 1})

    def fail(*args, **options):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(torch, "load", fail)
        with pytest.raises(UserError, match=r"state\.pt: cannot be read"):
            checkpoint.load()
    assert checkpoint.load() == {"step": 1}


def test_a_loss_that_is_not_finite_stops_it(patches, params):
    with pytest.raises(UserError, match="training diverged: the loss or a score is not finite at step"):
        fit(patches, settings(params, lr=1e30, grad_clip=None, warmup_steps=0))


def test_a_training_that_explodes_leaves_its_last_good_checkpoint(patches, params, tmp_path, monkeypatch):
    """From which it goes on as if nothing had happened, once the cause is gone."""
    whole, _ = fit(patches, settings(params, grad_clip=None))
    add = synthesis.add
    calls = iter(range(1000))
    monkeypatch.setattr(synthesis, "add", lambda *args: add(*args) * (1e30 if next(calls) == 23 else 1.0))
    checkpoint = Checkpoint(tmp_path, "x")
    with pytest.raises(UserError, match=r"not finite at step (25|30); .*; the checkpoint of step 20 is kept"):
        fit(patches, settings(params, grad_clip=None), checkpoint=checkpoint)
    state = checkpoint.load()
    assert state["state"]["step"] == 20
    assert all(tensor.isfinite().all() for tensor in tensors(state))
    monkeypatch.setattr(synthesis, "add", add)
    model, _ = fit(patches, settings(params, grad_clip=None), checkpoint=checkpoint)
    assert same(whole.state_dict(), model.state_dict())


def tensors(value) -> list[torch.Tensor]:
    if isinstance(value, dict | list | tuple):
        return [t for inner in (value.values() if isinstance(value, dict) else value) for t in tensors(inner)]
    return [value] if isinstance(value, torch.Tensor) else []


def test_an_optimiser_that_overflows_is_not_kept(patches, params, tmp_path):
    """Squares of gradients do at 1e20, and the weights stand still: neither loss nor scores show it."""
    checkpoint = Checkpoint(tmp_path, "x")
    with pytest.raises(UserError, match="a weight or the optimiser's state is not finite at step 10; lower lr"):
        fit(patches, settings(params, loss={"mse": 1e25}, grad_clip=None), checkpoint=checkpoint)
    assert checkpoint.load() is None


def test_early_stopping_counts_validations_without_a_better_psnr(patches, params):
    told = Told(patches, [1.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    _, run = fit(patches, settings(params, steps=60, patience=2), validate=told)
    assert run.step == 40


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_training_is_the_same_training(patches, params, tmp_path):
    """To rounding, with the same names, in one graph however often it is validated; killed, it goes on as it was."""
    import torch._dynamo.utils as dynamo

    params = params.model_copy(update={"train": params.train.model_copy(update={"precision": "float32"})})
    plain, run = fit(patches, settings(params))
    dynamo.counters.clear()
    whole, compiled = fit(patches, settings(params, compile=True))
    assert dynamo.counters["stats"]["unique_graphs"] == 1
    assert not dynamo.counters["graph_break"]
    assert type(whole) is type(plain)
    assert list(compiled.best["psnr"]["weights"]) == list(run.best["psnr"]["weights"])
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(tensor.float(), whole.state_dict()[name].float(), atol=1e-3), name
    assert compiled.history[-1]["loss"] == pytest.approx(run.history[-1]["loss"], rel=0.01)
    checkpoint = Checkpoint(tmp_path, "x")
    with pytest.raises(KilledError):
        fit(patches, settings(params, compile=True), checkpoint=checkpoint, kill_at=27)
    resumed, _ = fit(patches, settings(params, compile=True), checkpoint=checkpoint)
    assert same(whole.state_dict(), resumed.state_dict())


def test_compiling_without_a_compiler_is_refused(patches, params, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"train.compile: needs a C\+\+ compiler; install no-such-comp"):
        fit(patches, settings(params, compile=True))


def rates(settings: Train, steps: int, *, per_epoch: int = 10, history=()) -> list[float]:
    return [
        optimizer.learning_rate(settings, step, steps, step / per_epoch, "val_psnr", list(history))
        for step in range(steps)
    ]


def test_the_schedule_warms_up_and_comes_down(params):
    s = settings(params, warmup_steps=5, lr=1.0)
    found = rates(s, 106)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert optimizer.learning_rate(s, 55, 105, 0, "val_psnr", []) == pytest.approx((1 + s.schedule.final) / 2)
    assert optimizer.learning_rate(s, 105, 105, 0, "val_psnr", []) == pytest.approx(s.schedule.final)
    assert found[5:] == sorted(found[5:], reverse=True)


def test_the_other_schedules(params):
    def of(history=(), **schedule) -> list[float]:
        s = settings(params, warmup_steps=0, lr=1.0, schedule=schedule)
        return rates(s, 41, history=history)[::10]

    assert of(kind="constant") == [1, 1, 1, 1, 1]
    assert of(kind="exponential", gamma=0.5) == [1, 0.5, 0.25, 0.125, 0.0625]
    assert of(kind="step", gamma=0.5, every=2) == [1, 1, 0.5, 0.5, 0.25]
    history = [{"val_psnr": value} for value in (1, 3, 2, 2, 4, 4)]
    assert of(history, kind="plateau", gamma=0.5, patience=2)[0] == 0.5
    assert of(history, kind="plateau", gamma=0.5, patience=1)[0] == 0.125


def test_stalls_are_counted_from_the_best_or_the_last_stall():
    def count(values, patience):
        return optimizer.stalls([{"s": value} for value in values], "s", patience)

    assert count([], 1) == 0
    assert count([1, 2, 3], 1) == 0
    assert count([3, 2, 1], 1) == 2
    assert count([3, 2, 1, 3, 0], 2) == 2
    assert count([3, 2, 4, 3, 5], 2) == 0
    assert count([3, 2, 1], None) == 0


def test_a_budget_in_epochs(patches, params):
    epochs = settings(params, steps=None, epochs=3, validate_every=None)
    _, run = fit(patches, epochs)
    assert run.step == 3 * (len(patches) // 4)
    assert [row["epoch"] for row in run.history] == [1, 2, 3]


def test_the_average_is_validated_and_kept(patches, params):
    model, run = fit(patches, settings(params, ema=0.9, steps=20))
    assert not same(model.state_dict(), run.best["psnr"]["weights"])
    kept = architectures.build(BLOCK)
    kept.load_state_dict(run.best["psnr"]["weights"])
    assert Scores(patches)(kept)["psnr"] == pytest.approx(run.best["psnr"]["value"], abs=1e-6)
    by_hand, decay = None, 0.9
    torch.manual_seed(0)
    for step in range(1, 4):
        weight = fit(patches, settings(params, steps=step, schedule={"kind": "constant"}))[0].state_dict()[
            "layers.0.weight"
        ]
        by_hand = weight if by_hand is None else decay * by_hand + (1 - decay) * weight
    averaged = fit(patches, settings(params, ema=decay, steps=3, schedule={"kind": "constant"}))[1]
    assert torch.allclose(averaged.best["psnr"]["weights"]["layers.0.weight"], by_hand, atol=1e-6)


def test_frozen_layers_stand_still_and_thaw_from_the_last(patches, params):
    torch.manual_seed(0)
    fresh = architectures.build(BLOCK).state_dict()

    def moved(values, patience=1) -> set[str]:
        frozen = Freeze(layers=["layers.0", "layers.2", "layers.3"], patience=patience)
        s = settings(params, steps=10 * len(values), freeze=frozen)
        after = fit(patches, s, validate=Told(patches, values))[0].state_dict()
        return {name[: len("layers.N")] for name in after if not torch.equal(after[name], fresh[name])}

    assert moved([1.0]) == {"layers.5"}
    assert moved([2.0, 1.0, 0.5], patience=None) == {"layers.5"}
    assert moved([2.0, 1.0, 3.0]) == {"layers.3", "layers.5"}
    assert moved([2.0, 1.0, 0.0, 3.0]) == {"layers.2", "layers.3", "layers.5"}
    with pytest.raises(UserError, match=r"freeze.layers: no layer 'encoder' with weights; choose from: layers"):
        fit(patches, settings(params, freeze=Freeze(layers=["encoder"], patience=None)))


def test_a_noise_aware_model_is_told_the_level_of_each_image(patches, params):
    blind = SPEC.model_copy(update={"sigma_255": (5.0, 50.0)})
    block = {"arch": "ffdnet", "channels": 3, "depth": 3, "features": 8, "batch_norm": False}
    told = []

    class Silent(Scores):
        def __call__(self, model):
            return {"psnr": 0.0, "ssim": 0.0}

    torch.manual_seed(0)
    model = architectures.build(block)
    original = model.forward
    model.forward = lambda noisy, sigma=None: (told.append(sigma), original(noisy, sigma))[1]
    batches = ResidentBatches(TrainingPatches(patches), 4, 32, True, 0, CPU)
    loss = lambda output, batch: (output - batch.clean).square().mean()  # noqa: E731
    loop.fit(model, batches, Silent(patches), settings(params, steps=2, validate_every=2), blind, loss, device=CPU)
    batch = batches(1)
    noisy = synthesis.add(batch.clean, batch.generator, blind, None)
    level = 255 * (noisy - batch.clean).flatten(1).std(dim=1)
    assert told[1].shape == (4,)
    assert told[1].numpy() == pytest.approx(level.numpy(), rel=0.02)
    assert level.max() > 1.5 * level.min()


def test_losses_by_hand():
    from denoiselab.training.losses import CHARBONNIER_EPSILON, LOSSES, build

    a, b = torch.tensor([[[[0.0, 3.0]]]]), torch.tensor([[[[4.0, 3.0]]]])
    assert LOSSES["mse"](a, b).item() == pytest.approx(8)
    assert LOSSES["l1"](a, b).item() == pytest.approx(2)
    expected = (math.sqrt(16 + CHARBONNIER_EPSILON**2) + CHARBONNIER_EPSILON) / 2
    assert LOSSES["charbonnier"](a, b).item() == pytest.approx(expected)
    assert build({"mse": 0.5, "l1": 3.0})(a, b).item() == pytest.approx(0.5 * 8 + 3 * 2)


def test_the_ssim_loss_is_that_of_scikit_image(patches):
    from denoiselab.metrics import image_quality

    a, b = patches[0], patches[1]
    planar = [torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (a, b)]
    planar[0].requires_grad_()
    loss = losses.build({"ssim": 1.0})(*planar)
    assert loss.item() == pytest.approx(1 - image_quality.ssim(b, a, data_range=255), abs=1e-5)
    loss.backward()
    assert torch.isfinite(planar[0].grad).all()


def test_the_perceptual_loss_compares_features_and_leaves_its_net_alone(patches):
    net = architectures.build(
        {"arch": "classifier_cnn", "channels": 3, "widths": [4, 8], "batch_norm": True, "classes": 3, "side": 6}
    )
    before = {k: v.clone() for k, v in net.state_dict().items()}
    loss = losses.build({"perceptual": 2.0}, net)
    a, b = (torch.from_numpy(patches[n : n + 2]).permute(0, 3, 1, 2).float() / 255 for n in (0, 2))
    a.requires_grad_()
    value = loss(a, b)
    assert loss(b, b).item() == 0
    expected = [
        ((x - y).square().mean() / y.square().mean()).item()
        for x, y in zip(net.features(a), net.features(b), strict=True)
    ]
    assert value.item() == pytest.approx(2 * sum(expected) / len(expected), rel=1e-5)
    value.backward()
    assert a.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.parameters())
    assert same(before, net.state_dict())


def test_vgg16_loads_torchvisions_names_and_refuses_others(tmp_path):
    from denoiselab.models import vgg

    net = vgg.Vgg16()
    names = {f"features.{n.removeprefix('layers.')}": t for n, t in net.state_dict().items()}
    assert len(names) == 14
    assert names["features.14.weight"].shape == (256, 256, 3, 3)
    torch.save(names | {"classifier.0.weight": torch.zeros(2)}, tmp_path / "vgg16.pth")
    loaded = vgg.load_weights(tmp_path / "vgg16.pth")
    maps = loaded.features(torch.rand(1, 3, 32, 40))
    assert [tuple(m.shape) for m in maps] == [(1, 64, 32, 40), (1, 128, 16, 20), (1, 256, 8, 10)]
    assert all((m >= 0).all() for m in maps)
    assert torch.equal(maps[2], net.features(torch.rand(1, 3, 32, 40) * 0 + 0.5)[2]) is False
    del names["features.0.bias"]
    torch.save(names, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth: not torchvision's VGG16: lacks features.0.bias"):
        vgg.load_weights(tmp_path / "other.pth")
