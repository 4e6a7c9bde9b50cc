"""Training one entry: what it starts from, what guides it, what it is validated on. Real photographs, two classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoiselab import config
from denoiselab.config import Params
from denoiselab.data import noise_sampling, patches
from denoiselab.data.fetch import fetch
from denoiselab.evaluation import scoring
from denoiselab.models import model_store, tiled_inference
from denoiselab.runtime import devices, files, parallel, paths
from denoiselab.runtime.errors import UserError
from denoiselab.training import jobs, runner
from tests.architectures.test_spandrel import stand_in, toy
from tests.conftest import composed, of_two_classes, trained

SIDE = 48
TRAIN = {"steps": 6, "validate_every": 3, "val_patches": 4, "batch": 4, "crop": 32, "warmup_steps": 0}
SMALL = {"channels": 3, "widths": [4, 6, 8], "batch_norm": True, "sigmoid": True, "head_bias": False}
CLASSIFIER = {"arch": "classifier_cnn", "channels": 3, "widths": [4, 8], "batch_norm": True, "classes": 2, "side": 4}
GUIDED = SMALL | {"arch": "guided_unet", "classes": 2, "guide_features": 4, "guide_side": 4}
PLAIN = SMALL | {"arch": "unet_classic"}
NEEDS = {"needs": "data/patches"}
MODELS = {
    "classifier": CLASSIFIER | NEEDS,
    "guided": GUIDED | {"guidance": "classifier", "needs": "models/classifier"},
    "oracle": GUIDED | {"guidance": "oracle"} | NEEDS,
    "plain": PLAIN | NEEDS,
    "tuned": PLAIN | {"needs": "models/plain", "init_from": "models/plain"},
    "perceptual": PLAIN
    | {
        "needs": "models/classifier",
        "loss": {"mse": 1.0, "perceptual": 0.1},
        "perceptual": {"kind": "classifier", "model": "models/classifier"},
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with data/ made by the stages' own functions: crops of two photographs, their names the classes."""
    root = tmp_path_factory.mktemp("experiment")
    of_two_classes(root / "photos", SIDE)
    params = make(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        fetch(params.data, paths.RAW)
        patches.cut(paths.RAW, params.patches, 3, paths.PATCHES)
        noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
    return root


def make(root: Path, **changes: dict) -> Params:
    """The parameters: MODELS with changes by entry."""
    overrides = ["data=folder", f"data.path={root / 'photos'}", "noise=normal", "model=noisy", "data.drop_leaks=true"]
    small = [f"patches.{key}={SIDE}" for key in ("size", "stride", "val_size")]
    tree = composed(*overrides, *small, "patches.scales=[1.0]").model_dump(mode="json", exclude_unset=True)
    tree["train"] |= TRAIN
    tree["evaluate"] |= {"samples": 1, "curve": {"levels": [10, 50], "images": 2, "crop": 32}}
    tree["models"] |= {name: block | changes.get(name, {}) for name, block in MODELS.items()}
    return config.Params.model_validate(tree)


@pytest.fixture
def here(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_ROOT", str(project))
    return project


def train(params: Params, *names: str) -> None:
    for name in names:
        trained(params, name)


def weights(name: str) -> dict[str, torch.Tensor]:
    return model_store.load(paths.model(name)).state_dict()


def test_a_classifier_is_trained_on_labels_and_evaluated_by_accuracy(here):
    params = make(here, classifier={"steps": 60, "validate_every": 20, "lr": 0.01, "grad_clip": None})
    train(params, "classifier")
    card = model_store.read_card(paths.model("classifier"))
    assert (card["task"], card["classes"]) == ("classify", ["astronaut", "chelsea"])
    assert [*card["weights"]] == ["best_accuracy", "best_log_likelihood"]
    history = list(files.read_csv(paths.history("classifier")))
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    summary = scoring.evaluate(params, "classifier")[0]
    rows = list(files.read_csv(paths.evaluation("classifier") / "per_image.csv"))
    assert summary["normal"]["accuracy"] == np.mean([row["label"] == row["predicted"] for row in rows])
    assert summary["normal"]["accuracy"] > 0.5
    assert [*files.read_csv(paths.evaluation("classifier") / "curve.csv")] == []


def test_the_patches_are_read_once_for_all_seeds(here, monkeypatch):
    read = []
    for module, function in ((patches, "labels"), (files, "sha256")):
        original = getattr(module, function)
        counted = lambda path, *rest, original=original: (read.append(path), original(path, *rest))[1]  # noqa: E731
        monkeypatch.setattr(module, function, counted)
    found = jobs.resolve_all(make(here).model_copy(update={"seeds": 3}), "plain")
    assert [job.seed - found[0].seed for job in found] == [0, 1, 2]
    assert len({job.fingerprint for job in found}) == 3
    assert read.count(paths.PATCHES) == 1  # the labels
    assert read.count(paths.PATCHES / "train-00000.npy") == 1


def test_a_guided_net_holds_its_classifier_untouched_and_loads_whole(here):
    params = make(here)
    train(params, "classifier", "guided", "plain")
    own = weights("classifier")
    inside = {k.removeprefix("classifier."): v for k, v in weights("guided").items() if k.startswith("classifier.")}
    assert inside.keys() == own.keys()
    assert any(key.endswith("running_var") for key in own)
    assert all(torch.equal(inside[key], own[key]) for key in own)
    guide = 4 * 6 * 9 + (2 + 1) * 4 * 4 * 4  # inputs of the first decoder block, and the layer that makes the map
    counts = [model_store.read_card(paths.model(name))["parameters"] for name in ("guided", "plain")]
    assert counts[0] - counts[1] == guide
    summary = scoring.evaluate(params, "guided")[0]
    assert summary["normal"]["psnr"] > 5


def test_a_guided_net_without_its_classifier_is_refused(here):
    params = make(here, guided={"needs": "data/patches"})
    with pytest.raises(UserError, match=r"models.guided.needs: must name the classifier that guides it"):
        train(params, "guided")
    train(make(here), "plain")
    with pytest.raises(UserError, match="cannot adopt a UNet"):
        train(make(here, guided={"needs": "models/plain"}), "guided")
    with pytest.raises(
        ValueError, match=r"models.oracle.classes: 3, but the training patches of the data have 2 classes"
    ):
        train(make(here, oracle={"classes": 3}), "oracle")


def test_a_class_that_training_lacks_matters_to_those_alone_that_are_about_classes(here, monkeypatch):
    original = patches.labels
    strange = {"val": ["astronaut", "rocket"]}
    monkeypatch.setattr(patches, "labels", lambda folder, split: strange.get(split) or original(folder, split))
    params = make(here)
    train(params, "plain")
    with pytest.raises(UserError, match=r"models.classifier: val patches of a class that training lacks: rocket"):
        train(params, "classifier")


def test_the_oracle_is_told_the_true_class_in_the_test(here, monkeypatch):
    params = make(here).model_copy(update={"parallel": parallel.SERIAL})  # in order
    train(params, "oracle")
    told = []
    original = tiled_inference.restore
    monkeypatch.setattr(tiled_inference, "restore", lambda *a, **k: (told.append(k["label"]), original(*a, **k))[1])
    scoring.evaluate(params, "oracle")[0]
    rows = list(files.read_csv(paths.evaluation("oracle") / "per_image.csv"))
    expected = [["astronaut", "chelsea"].index(row["label"]) for row in rows]
    assert {*expected} == {0, 1}
    assert told[1 : 1 + len(rows)] == expected  # the first warms up


def test_training_starts_from_the_weights_it_is_told(here):
    train(make(here), "plain")
    params = make(here, tuned={"lr": 1e-12, "steps": 1, "validate_every": 1, "weight_decay": 0.0})
    train(params, "tuned")
    before, after = weights("plain"), weights("tuned")
    kernels = [key for key in before if before[key].ndim == 4]
    assert kernels and all(torch.allclose(before[key], after[key], atol=1e-7) for key in kernels)
    with pytest.raises(UserError, match=r"models.tuned.init_from: its weights do not fit this model"):
        train(make(here, tuned={"widths": [4, 6, 10]}), "tuned")


@pytest.fixture
def interrupted(here, tmp_path, monkeypatch) -> Params:
    """A training that was killed after its second validation, whose checkpoint was copied to another machine."""
    params = make(here, plain={"steps": 30, "validate_every": 10})

    class KilledError(Exception):
        pass

    def killing(step, values):
        if step == 20:
            raise KilledError

    with pytest.raises(KilledError):
        runner.run(jobs.resolve(params, "plain"), killing)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    shutil.copytree(here / ".ckpt", tmp_path / "elsewhere/.ckpt")
    return params


def test_a_copied_checkpoint_goes_on_elsewhere(interrupted, capsys):
    steps = []
    result = runner.run(jobs.resolve(interrupted, "plain"), lambda step, values: steps.append(step))
    assert "resuming at step 20" in capsys.readouterr().err
    assert steps == [10, 20, 30]  # logged again, then continued
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("changes", "version", "said"),
    [
        ({"lr": 0.5}, None, "differs in train.lr (0.002, here 0.5)\n"),
        ({}, "9.9", "differs in versions.numpy ("),
        ({"lr": 0.5, "batch": 2}, None, "differs in train.batch (4, here 2); train.lr (0.002, here 0.5)\n"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_why(here, interrupted, monkeypatch, capsys, changes, version, said):
    if version:
        original = jobs.version
        monkeypatch.setattr(jobs, "version", lambda name: version if name == "numpy" else original(name))
    params = make(here, plain={"steps": 30, "validate_every": 10} | changes)
    runner.run(jobs.resolve(params, "plain"), lambda *_: None)
    printed = capsys.readouterr().err
    assert "resuming" not in printed
    assert f"starting anew: the checkpoint in {paths.checkpoints()}" in printed
    assert said in printed


def test_a_checkpoint_of_another_precision_says_so(here, interrupted, capsys):
    trained = devices.precision("auto", torch.device("cpu"))
    other = {"float32": "bfloat16", "bfloat16": "float32"}[trained]
    params = make(here, plain={"steps": 30, "validate_every": 10, "precision": other})
    runner.run(jobs.resolve(params, "plain"), lambda *_: None)
    assert f"differs in train.precision ({trained}, here {other})\n" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b"\xff", b'{"name": 1}'])
def test_a_damaged_identity_is_not_compared(here, interrupted, capsys, content):
    for path in paths.checkpoints().glob("*/job.json"):
        path.write_bytes(content)
    runner.run(jobs.resolve(make(here, plain={"steps": 2, "validate_every": 1}), "plain"), lambda *_: None)
    assert "starting anew" not in capsys.readouterr().err


def test_the_chosen_precision_is_recorded(here, monkeypatch, capsys):
    fingerprints = set()
    for has, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "_has_bfloat16", lambda device, has=has: has)
        params = make(here, plain={"precision": "auto", "steps": 2})
        fingerprints.add(jobs.resolve(params, "plain").fingerprint)
        train(params, "plain")
        assert model_store.read_card(paths.model("plain"))["train"]["precision"] == expected
        assert f"threads, {expected}\n" in capsys.readouterr().err
    assert len(fingerprints) == 2


def test_an_initialisation_redraws_the_weights(here):
    train(make(here, plain={"lr": 1e-12}), "plain")
    usual = weights("plain")
    train(make(here, plain={"lr": 1e-12, "init": "xavier_uniform"}), "plain")
    assert not torch.allclose(usual["bottom.0.weight"], weights("plain")["bottom.0.weight"], atol=0.01)


def test_a_changed_needed_model_is_another_training(here):
    params = make(here)
    train(params, "plain")
    first = jobs.resolve(params, "tuned").fingerprint
    assert jobs.resolve(params, "tuned").fingerprint == first
    train(make(here, plain={"lr": 0.005}), "plain")
    assert jobs.resolve(params, "tuned").fingerprint != first


def test_a_noise_of_its_own_is_trained_and_validated_on(here):
    weak = {"kind": "gaussian", "sigma_255": 2, "per_channel": True, "clip": False, "quantise": False}
    params = make(here, plain={"noise": weak})
    job = jobs.resolve(params, "plain")
    validate = runner._validation(job)
    assert validate.levels == [2]
    part = validate.parts[0]
    assert 255 * (part.noisy - part.clean).std().item() == pytest.approx(2, rel=0.05)
    again = runner._validation(job).parts[0]
    assert torch.equal(part.noisy, again.noisy)
    assert job.card()["noise"]["train"]["sigma_255"] == 2
    assert runner._validation(jobs.resolve(make(here), "plain")).levels == [51]


def test_a_network_of_spandrel_is_imported_and_evaluated(here, monkeypatch):
    stand_in(monkeypatch)
    torch.save(toy(), here / "toy.pth")
    tree = make(here).model_dump(mode="json", exclude_unset=True)
    own = {"weights": str(here / "toy.pth"), "sha256": files.sha256(here / "toy.pth")}
    tree["models"]["toy"] = {"arch": "spandrel", "channels": 3} | NEEDS | own
    params = Params.model_validate(tree)
    train(params, "toy")
    card = model_store.read_card(paths.trained("toy", 0))
    assert (card["parameters"], card["steps"], card["imported"]) == (84, 0, own)
    scoring.evaluate(params, "toy")
    assert files.read_json(Path("reports/cost/evaluate/toy.json"))["macs_per_megapixel"] == 81 * 10**6


def test_imported_weights_whose_outputs_are_not_finite_are_refused(here, monkeypatch):
    stand_in(monkeypatch)
    network = toy()
    for values in network.values():
        values.fill_(float("nan"))
    torch.save(network, here / "toy.pth")
    tree = make(here).model_dump(mode="json", exclude_unset=True)
    own = {"weights": str(here / "toy.pth"), "sha256": files.sha256(here / "toy.pth")}
    tree["models"]["toy"] = {"arch": "spandrel", "channels": 3} | NEEDS | own
    with pytest.raises(UserError, match=r"^models\.toy: its outputs for the validation patches are not finite$"):
        train(Params.model_validate(tree), "toy")


def test_the_perceptual_loss_takes_the_classifier_it_needs(here):
    params = make(here)
    train(params, "classifier", "perceptual")
    with_it = weights("perceptual")
    train(make(here, perceptual={"loss": "mse", "perceptual": None, "needs": "data/patches"}), "perceptual")
    assert not torch.equal(with_it["bottom.0.weight"], weights("perceptual")["bottom.0.weight"])


def test_the_curve_has_a_row_an_image_and_level(here):
    params = make(here)
    train(params, "plain", "noisy")
    scoring.evaluate(params, "noisy")[0]
    rows = list(files.read_csv(paths.evaluation("noisy") / "curve.csv"))
    assert [float(row["sigma_255"]) for row in rows] == [10, 50, 10, 50]
    by_level = {level: [float(r["psnr"]) for r in rows if float(r["sigma_255"]) == level] for level in (10, 50)}
    assert np.mean(by_level[10]) == pytest.approx(28.2, abs=0.6)  # 20 log10(255 / 10), a little less clipped
    assert np.mean(by_level[50]) == pytest.approx(14.5, abs=0.9)


def test_pictures_of_the_training_are_kept(here):
    train(make(here), "plain")
    picture = np.asarray(Image.open(paths.progress("plain") / "patches.png"))
    assert picture.shape == (4 * SIDE, 5 * SIDE, 3)
    assert files.read_json(paths.progress("plain") / "steps.json") == {"first": 3, "middle": 3, "last": 6}
    noisy, clean = picture[:SIDE, :SIDE].astype(float), picture[:SIDE, -SIDE:].astype(float)
    assert 30 < (noisy - clean).std() < 60
