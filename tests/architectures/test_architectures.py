"""Interface of all architectures, and properties of each."""

import numpy as np
import pytest
import torch
from torch import nn

from denoiselab import architectures
from denoiselab.models import model_store, tiled_inference
from denoiselab.noise.level_estimation import estimate_sigma_255
from denoiselab.runtime import seeding
from denoiselab.runtime.errors import UserError

# One small block for every architecture; test_every_architecture_is_tested keeps it complete.
BLOCKS = {
    "bm3d": {"arch": "bm3d", "channels": 3},
    "cae": {"arch": "cae", "channels": 3, "widths": [8, 12], "batch_norm": True},
    "classical": {"arch": "classical", "channels": 3, "method": "tv", "strengths": [1.0]},
    "cnn": {"arch": "cnn", "channels": 3, "widths": [8, 12, 8], "batch_norm": True},
    "dncnn": {"arch": "dncnn", "channels": 3, "depth": 4, "features": 8, "batch_norm": True},
    "drunet": {"arch": "drunet", "channels": 3, "widths": [8, 12, 16], "blocks": 1},
    "ffdnet": {"arch": "ffdnet", "channels": 3, "depth": 4, "features": 12, "batch_norm": False},
    "guided_unet": {
        "arch": "guided_unet",
        "channels": 3,
        "widths": [6, 8, 12],
        "batch_norm": True,
        "sigmoid": True,
        "classes": 5,
        "guide_features": 4,
        "guide_side": 3,
        "guidance": "classifier",
    },
    "identity": {"arch": "identity", "channels": 3},
    "nafnet": {"arch": "nafnet", "channels": 3, "width": 6, "encoder": [1, 1], "middle": 1, "decoder": [1, 1]},
    "pixelshuffle_unet": {"arch": "pixelshuffle_unet", "channels": 3, "widths": [16, 16, 24], "dropout": 0.0},
    "resunet": {"arch": "resunet", "channels": 3, "widths": [8, 12, 16], "blocks": 1},
    "unet_classic": {
        "arch": "unet_classic",
        "channels": 3,
        "widths": [6, 8, 12],
        "batch_norm": True,
        "normalise": True,
    },
    "winnet": {
        "arch": "winnet",
        "channels": 3,
        "lifting_steps": 1,
        "blocks": 1,
        "features": 6,
        "atoms": 8,
        "iterations": 2,
    },
}
CLASSIFIERS = {
    "classifier_cnn": {"arch": "classifier_cnn", "channels": 3, "classes": 5, "widths": [6, 8, 12], "side": 2},
    "classifier_resnet": {"arch": "classifier_resnet", "channels": 3, "classes": 5, "widths": [16, 8, 12]},
}
for block in CLASSIFIERS.values():
    block["batch_norm"] = True
FIXED = ["bm3d", "classical", "identity"]
IMPORTED = ["spandrel"]  # has no network without weights: test_spandrel.py
LEARNED = [arch for arch in BLOCKS if arch not in FIXED]
FROM_THE_IDENTITY = ["dncnn", "resunet"]
ANYWHERE = ["bm3d", "classical", "guided_unet", "nafnet"]
NEAR = [arch for arch in BLOCKS if arch not in ANYWHERE]  # with a finite receptive field
NOISE_AWARE = ["drunet", "ffdnet", "winnet"]
SYSTEM_UNET = {"widths": [16, 32, 64, 128, 256], "sigmoid": True}
PAPER_NAFNET = {"encoder": [2, 2, 4, 8], "middle": 12, "decoder": [2, 2, 2, 2]}
GUIDED = SYSTEM_UNET | {"classes": 10, "guidance": "oracle"}
RESNET = {"classes": 10, "widths": [16, 32, 64, 128]}


def made(arch: str, **changes) -> nn.Module:
    """New model, with a classifier if it needs one."""
    torch.manual_seed(0)
    model = architectures.build((BLOCKS | CLASSIFIERS)[arch] | changes)
    if getattr(model, "adopts", False):
        model.adopt(architectures.build(CLASSIFIERS["classifier_cnn"] | {"channels": changes.get("channels", 3)}))
    return model


def built(arch: str, **changes) -> nn.Module:
    model = made(arch, **changes).eval()
    if getattr(model, "calibrated", False):
        model.set_strengths({25.0: 1.0})
    for p in model.parameters():  # no zero weights, so that every layer contributes
        nn.init.normal_(p, std=0.1)
    return model


def noisy(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=seeding.generator("models"))


def test_every_architecture_is_tested():
    assert sorted([*BLOCKS, *CLASSIFIERS, *IMPORTED]) == architectures.known()


@pytest.mark.parametrize("arch", BLOCKS)
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 8), (1, 5)])
def test_output_has_the_size_of_the_input(arch, size):
    if arch == "classical" and min(size) < 3:
        pytest.skip("scikit-image's methods need some pixels")
    x = noisy(2, 3, *size)
    y = tiled_inference.forward(built(arch), x, 25.0)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert torch.isfinite(y).all()
    assert y.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("arch", BLOCKS)
def test_gray_images(arch):
    assert tiled_inference.forward(built(arch, channels=1), noisy(1, 1, 20, 20), 25.0).shape == (1, 1, 20, 20)


@pytest.mark.parametrize("arch", BLOCKS)
def test_images_of_a_batch_are_independent(arch):
    x = noisy(3, 3, 24, 24)
    model = built(arch)
    assert torch.allclose(
        tiled_inference.forward(model, x, 25.0)[1:2], tiled_inference.forward(model, x[1:2], 25.0), atol=1e-5
    )


@pytest.mark.parametrize("arch", LEARNED)
def test_every_parameter_has_a_finite_gradient(arch):
    model = built(arch).train()
    model(noisy(2, 3, 32, 32)).square().mean().backward()
    check_gradients(model)


def check_gradients(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if not p.requires_grad:
            assert name.startswith("classifier."), name
            continue
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("arch", [*LEARNED, *CLASSIFIERS])
def test_gradients_are_correct_in_channels_last_layout(arch):
    """float32 in channels-last layout against float64: oneDNN's was wrong for a strided 1x1 convolution."""
    gradients = []
    for dtype, layout in ((torch.float64, torch.contiguous_format), (torch.float32, torch.channels_last)):
        model = made(arch).eval() if arch in CLASSIFIERS else built(arch)
        model.to(dtype=dtype, memory_format=layout)
        model(noisy(8, 3, 32, 32).to(dtype=dtype, memory_format=layout)).square().mean().backward()
        gradients.append({name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None})
    for name, exact in gradients[0].items():
        assert (gradients[1][name] - exact).norm() <= 1e-3 * exact.norm(), name


@pytest.mark.parametrize("arch", LEARNED)
def test_it_overfits_a_handful_of_patches(arch):
    model = made(arch)
    clean = noisy(4, 3, 1, 1).expand(4, 3, 24, 24)
    x = clean + 0.1 * torch.randn(clean.shape, generator=seeding.generator("overfit"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003 if arch == "ffdnet" else 0.005)
    before = (x - clean).square().mean().item()
    for _ in range(250):
        loss = (model(x) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < before / 4


@pytest.mark.parametrize("arch", ANYWHERE)
def test_other_architectures_have_unlimited_reach(arch):
    assert built(arch).reach is None


@pytest.mark.parametrize("arch", NEAR)
def test_reach_bounds_the_receptive_field(arch):
    model = built(arch)
    size = 2 * model.reach + 33
    x = noisy(1, 3, size, size).requires_grad_()
    y, centre = tiled_inference.forward(model, x, 25.0), size // 2
    y[0, :, centre, centre].sum().backward()
    seen = x.grad[0].abs().sum(0).nonzero()
    assert (seen - centre).abs().max() <= model.reach


@pytest.mark.parametrize(("arch", "sigma_255"), [(arch, 25.0) for arch in NEAR] + [(a, None) for a in NOISE_AWARE])
def test_tiled_result_equals_the_whole_image(arch, sigma_255):
    image = noisy(1, 3, 333, 421)[0].permute(1, 2, 0).numpy()
    model = built(arch)
    cpu = torch.device("cpu")
    whole = tiled_inference.restore(model, image, device=cpu, sigma_255=sigma_255)
    assert np.abs(
        tiled_inference.restore(model, image, device=cpu, sigma_255=sigma_255, tile=128) - whole
    ).max() <= 1e-5 * max(1, np.abs(whole).max())


@pytest.mark.parametrize("arch", BLOCKS)
def test_saved_models_are_loaded_unchanged(arch, tmp_path):
    alone = {"guidance": "oracle"} if arch == "guided_unet" else {}  # needs no classifier
    model = built(arch, **alone)
    weights = {name: model.state_dict() for name in ("best_psnr", "best_ssim")}
    model_store.save(tmp_path, weights, {"architecture": BLOCKS[arch] | alone, "adopted": None})
    x = noisy(1, 3, 21, 30)
    assert torch.equal(
        tiled_inference.forward(model_store.load(tmp_path), x, 25.0), tiled_inference.forward(model, x, 25.0)
    )


def test_damaged_or_foreign_models_are_refused(tmp_path):
    model = built("dncnn")
    model_store.save(
        tmp_path,
        {name: model.state_dict() for name in ("best_psnr", "best_ssim")},
        {"architecture": BLOCKS["resunet"], "adopted": None},
    )
    with pytest.raises(UserError, match=r"best_psnr\.safetensors: cannot be loaded"):
        model_store.load(tmp_path)
    (tmp_path / "best_psnr.safetensors").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"best_psnr\.safetensors: differs from what was written; train it again"):
        model_store.load(tmp_path)


@pytest.mark.parametrize(
    ("arch", "block", "count"),
    [
        # dncnn: two public variants, and the paper's two depths in every form
        ("dncnn", {"depth": 7, "features": 128, "activation": "leaky_relu", "tanh": True}, 744_963),
        ("dncnn", {"depth": 7, "features": 128, "batch_norm": True}, 745_603),
        ("dncnn", {"depth": 7, "features": 128, "batch_norm": True, "bias": "all"}, 746_243),
        ("dncnn", {"depth": 7, "features": 128, "batch_norm": True, "bias": "none"}, 745_472),
        ("dncnn", {"depth": 19, "batch_norm": True, "bias": "all"}, 633_475),
        ("dncnn", {"depth": 17, "batch_norm": True}, 558_403),
        ("dncnn", {"depth": 17, "batch_norm": True, "bias": "all"}, 559_363),
        ("dncnn", {"depth": 17, "batch_norm": True, "bias": "none"}, 558_336),
        ("dncnn", {"depth": 17}, 557_443),
        ("dncnn", {"depth": 20, "batch_norm": True}, 669_379),
        ("dncnn", {"depth": 20, "batch_norm": True, "bias": "all"}, 670_531),
        ("dncnn", {"depth": 20, "batch_norm": True, "bias": "none"}, 669_312),
        ("dncnn", {"depth": 20}, 668_227),
        ("dncnn", {"channels": 1, "depth": 17, "batch_norm": True}, 556_097),
        ("dncnn", {"channels": 1, "depth": 17, "batch_norm": True, "bias": "all"}, 557_057),
        ("dncnn", {"channels": 1, "depth": 17, "batch_norm": True, "bias": "none"}, 556_032),
        ("dncnn", {"channels": 1, "depth": 20, "batch_norm": True}, 667_073),
        ("dncnn", {"channels": 1, "depth": 20, "batch_norm": True, "bias": "all"}, 668_225),
        ("dncnn", {"channels": 1, "depth": 20, "batch_norm": True, "bias": "none"}, 667_008),
        ("cnn", {"widths": [32, 64, 128, 64, 32], "batch_norm": True}, 186_688),
        ("cnn", {"widths": [32, 64, 128, 64, 32]}, 186_371),
        ("cae", {"widths": [16, 32, 64], "batch_norm": True}, 107_491),
        ("cae", {"widths": [16, 32, 64]}, 107_171),
        ("unet_classic", SYSTEM_UNET | {"batch_norm": True, "head_bias": False}, 1_942_608),
        ("unet_classic", SYSTEM_UNET, 1_941_139),
        ("unet_classic", {"widths": [64, 128, 256, 512, 1024], "batch_norm": True, "normalise": True}, 31_037_763),
        ("guided_unet", GUIDED | {"batch_norm": True, "head_bias": False}, 2_030_160),
        ("guided_unet", GUIDED, 2_028_691),
        ("classifier_cnn", {"classes": 10, "widths": [64, 128, 256], "batch_norm": True}, 1_514_954),
        ("classifier_cnn", {"classes": 10, "widths": [64, 128, 256]}, 1_514_058),
        ("classifier_resnet", RESNET | {"batch_norm": True, "second_norm": False}, 698_985),
        ("classifier_resnet", RESNET | {"batch_norm": True}, 699_945),
        ("classifier_resnet", RESNET, 698_470),
        ("pixelshuffle_unet", {"widths": [16, 32, 64, 128, 256, 512]}, 13_361_747),
        # as in the authors' code
        ("ffdnet", {"depth": 12, "features": 96}, 852_108),
        ("ffdnet", {"channels": 1, "depth": 15}, 485_316),
        ("drunet", {"widths": [64, 128, 256, 512], "blocks": 4}, 32_640_960),
        ("drunet", {"channels": 1, "widths": [64, 128, 256, 512], "blocks": 4}, 32_638_656),
        (
            "winnet",
            {"channels": 1, "lifting_steps": 4, "blocks": 4, "features": 32, "atoms": 64, "iterations": 4},
            173_440,
        ),
        ("nafnet", PAPER_NAFNET | {"width": 32}, 29_159_715),  # the authors: 29.16 M
        ("nafnet", PAPER_NAFNET | {"width": 64}, 115_982_915),  # 115.98 M
    ],
)
def test_numbers_of_parameters_are_as_published(arch, block, count):
    usual = {"channels": 3, "batch_norm": False, "features": 64}
    keys = architectures._module(arch, "test").Config.model_fields
    with torch.device("meta"):
        model = architectures.build({"arch": arch} | {k: v for k, v in usual.items() if k in keys} | block)
    assert model_store.parameters(model) == count


def test_an_adopted_classifier_is_not_counted():
    alone = model_store.parameters(architectures.build(BLOCKS["guided_unet"] | {"guidance": "zeroed"}))
    assert model_store.parameters(made("guided_unet")) == alone


def test_a_residual_ffdnet_starts_from_the_identity_and_still_takes_the_level():
    model, x = made("ffdnet", residual=True), noisy(2, 3, 17, 20)
    assert torch.equal(model(x, 25.0), x)
    torch.nn.init.ones_(model.layers[-1].weight)
    assert not torch.equal(model(x, 25.0), model(x, 50.0))


@pytest.mark.parametrize("arch", FROM_THE_IDENTITY)
def test_training_starts_near_the_identity(arch):
    x = noisy(2, 3, 32, 32)
    assert (architectures.build(BLOCKS[arch]).eval()(x) - x).abs().max() < 0.3


def test_invalid_blocks_are_refused_with_what_is_allowed():
    with pytest.raises(
        ValueError, match=r"models\.unet\.arch: 'vgg' is unknown; allowed: bm3d, cae, classical, classifier_cnn, "
    ):
        architectures.build({"arch": "vgg"}, where="models.unet")
    with pytest.raises(
        ValueError, match=r"models\.unet: unknown key 'dept'; allowed: channels, depth, features, batch_norm"
    ):
        architectures.build(BLOCKS["dncnn"] | {"dept": 3}, where="models.unet")
    with pytest.raises(UserError, match=r"models\.unet\.depth: input should be greater than or equal to 2"):
        architectures.build(BLOCKS["dncnn"] | {"depth": 1}, where="models.unet")
    with pytest.raises(UserError, match=r"models\.unet: sigmoid and normalise exclude each other"):
        architectures.build(BLOCKS["unet_classic"] | {"sigmoid": True}, where="models.unet")


@pytest.mark.parametrize("arch", ["cae", "cnn", "pixelshuffle_unet", "unet_classic"])
def test_a_sigmoid_is_an_option(arch):
    plain = {"normalise": False} if arch == "unet_classic" else {}
    x = noisy(1, 3, 12, 12)
    without = built(arch, sigmoid=False, **plain)(x)
    assert torch.allclose(built(arch, sigmoid=True, **plain)(x), torch.sigmoid(without), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_normalised_unet_brings_its_output_back(channels):
    model = built("unet_classic", channels=channels)
    for p in model.head.parameters():
        nn.init.zeros_(p)
    level = model(noisy(1, channels, 8, 8)).mean((0, 2, 3))
    assert torch.allclose(level, torch.tensor([0.485, 0.456, 0.406] if channels == 3 else [0.449]), atol=1e-3)


def test_dncnn_with_tanh_changes_a_pixel_by_one_at_most():
    model = built("dncnn", tanh=True, activation="leaky_relu")
    x = noisy(1, 3, 12, 12)
    assert (model(100 * x) - 100 * x).abs().max() <= 1.0001


@pytest.mark.parametrize("arch", NOISE_AWARE)
def test_the_noise_level_may_be_a_number_a_tensor_or_none(arch):
    model, x = built(arch), noisy(3, 3, 21, 18)
    each = model(x, torch.tensor([5.0, 25.0, 50.0]))
    assert torch.allclose(each[1:2], model(x[1:2], 25.0), atol=1e-5)
    assert not torch.allclose(each[0], model(x, 25.0)[0], atol=1e-5)
    assert torch.equal(model(x), model(x, estimate_sigma_255(x)))


def test_drunet_can_be_blind():
    model = built("drunet", noise_map=False)
    assert not model.noise_aware
    assert tiled_inference.forward(model, noisy(1, 3, 9, 9), 25.0).shape == (1, 3, 9, 9)


def guided(guidance: str) -> nn.Module:
    return made("guided_unet", guidance=guidance).eval()


def test_a_guided_net_needs_its_classifier():
    model = architectures.build(BLOCKS["guided_unet"])
    with pytest.raises(UserError, match=r"guidance 'classifier' needs a trained classifier: call adopt"):
        model(noisy(1, 3, 16, 16))
    with pytest.raises(UserError, match="with 5 classes cannot adopt a ClassifierCNN of 7"):
        model.adopt(architectures.build(CLASSIFIERS["classifier_cnn"] | {"classes": 7}))
    with pytest.raises(UserError, match="cannot adopt a DnCNN"):
        model.adopt(architectures.build(BLOCKS["dncnn"]))


@pytest.mark.parametrize("arch", CLASSIFIERS)
def test_an_adopted_classifier_is_frozen(arch):
    model = architectures.build(BLOCKS["guided_unet"])
    model.adopt(made(arch))
    before = {name: tensor.clone() for name, tensor in model.classifier.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters())
    moving = model.bottom[1].running_mean.clone()
    for _ in range(2):
        model.train()(noisy(4, 3, 16, 16)).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.classifier.state_dict().items())
    assert not torch.equal(model.bottom[1].running_mean, moving)
    assert not any(module.training for module in model.classifier.modules())


def test_each_kind_of_guidance():
    x, label = noisy(8, 3, 16, 16), torch.arange(8) % 5
    classifier, shuffled, zeroed, oracle = map(guided, ("classifier", "shuffled", "zeroed", "oracle"))
    assert [m.adopts for m in (classifier, shuffled, zeroed, oracle)] == [True, True, False, False]
    assert [m.label_aware for m in (classifier, shuffled, zeroed, oracle)] == [False, False, False, True]
    assert torch.equal(zeroed(x, label), zeroed(x))
    assert torch.equal(oracle(x), zeroed(x))
    assert not torch.equal(oracle(x, label), oracle(x))
    assert not torch.equal(oracle(x, label), oracle(x, label.flip(0)))
    assert not torch.equal(classifier(x), zeroed(x))
    assert not torch.equal(shuffled(x), classifier(x))


def test_shuffled_scores_depend_on_the_image_only():
    model, x = guided("shuffled"), noisy(8, 3, 16, 16)
    scores, rolled = model.classifier(x), model._scores(x, None)
    assert torch.equal(rolled.sort().values, scores.sort().values)
    offsets = {next(k for k in range(5) if torch.equal(s.roll(k), r)) for s, r in zip(scores, rolled, strict=True)}
    assert len(offsets) > 2
    assert torch.equal(model.train()._scores(x, None), rolled)
    assert torch.allclose(model._scores(x[3:4], None), rolled[3:4], atol=1e-6)
    assert torch.allclose(model._scores(x.flip(0), None).flip(0), rolled, atol=1e-6)


def test_a_guide_of_the_maps_size_is_not_resized(monkeypatch):
    model, x = guided("oracle"), noisy(1, 3, 12, 12)  # 6x6 cells at the first join
    guide = torch.rand(1, 4, 6, 6)
    before = model.restored(x, guide)
    monkeypatch.setattr(nn.functional, "interpolate", lambda guide, size, mode: guide)
    assert torch.equal(model.restored(x, guide), before)


@pytest.mark.parametrize("arch", CLASSIFIERS)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_classifiers_take_any_size(arch, batch_norm):
    model = built(arch, batch_norm=batch_norm)
    assert model.task == "classify"
    for size in [(8, 8), (9, 31), (40, 24)]:
        x = noisy(2, 3, *size)
        maps = model.features(x)
        assert [m.shape[:2] for m in maps] == [(2, width) for width in CLASSIFIERS[arch]["widths"]]
        assert model(x).shape == (2, 5)
        assert torch.allclose(model(x)[1:], model(x[1:]), atol=1e-6)
    assert built(arch, channels=1)(noisy(1, 1, 8, 8)).shape == (1, 5)


@pytest.mark.parametrize("arch", CLASSIFIERS)
def test_classifiers_learn(arch):
    model = built(arch).train()
    x, label = noisy(10, 3, 32, 32), torch.arange(10) % 5
    nn.functional.cross_entropy(model(x), label).backward()
    check_gradients(model)
    model = made(arch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    assert (model(x).argmax(1) == label).all()


@pytest.mark.parametrize("scheme", architectures.SCHEMES)
@pytest.mark.parametrize("arch", ["pixelshuffle_unet", "guided_unet"])
def test_initialisation_can_be_chosen(arch, scheme):
    model = made(arch)
    before = {name: p.clone() for name, p in model.named_parameters()}
    torch.manual_seed(1)
    architectures.initialise(model, scheme)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            kept = scheme == "none" or name.startswith("classifier.")
            assert torch.equal(module.weight, before[f"{name}.weight"]) == kept, name
            assert kept or module.bias is None or not module.bias.any(), name


def test_an_unknown_initialisation_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"'he' is unknown; allowed: none, xavier_uniform"):
        architectures.initialise(built("dncnn"), "he")


@pytest.mark.parametrize("arch", LEARNED)
def test_export_for_any_size(arch):
    model = built(arch)
    sides = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(model, (noisy(1, 3, 40, 48),), dynamic_shapes=(sides,)).module()
    for size in [(37, 61), (64, 33), (48, 48)]:
        x = noisy(1, 3, *size)
        assert torch.allclose(exported(x), model(x), atol=1e-5)
