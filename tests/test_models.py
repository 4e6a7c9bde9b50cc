"""The contract, over every architecture there is, and what each says of itself."""

import numpy as np
import pytest
import torch
from torch import nn

from denoiselab import inference, model_store, models, seeding

# One small block for every architecture; test_every_architecture_is_here keeps it complete.
BLOCKS = {
    "classical": {"arch": "classical", "channels": 3, "method": "tv", "strengths": [1.0]},
    "dncnn": {"arch": "dncnn", "channels": 3, "depth": 4, "features": 8, "batch_norm": True},
    "identity": {"arch": "identity", "channels": 3},
    "resunet": {"arch": "resunet", "channels": 3, "widths": [8, 12, 16], "blocks": 1},
}
LEARNED = ["dncnn", "resunet"]


def built(arch: str, **changes) -> nn.Module:
    torch.manual_seed(0)
    model = models.build(BLOCKS[arch] | changes).eval()
    if getattr(model, "calibrated", False):
        model.set_strengths({25.0: 1.0})
    for p in model.parameters():  # no zero weights: every layer must count
        nn.init.normal_(p, std=0.1)
    return model


def noisy(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=seeding.generator("models"))


def test_every_architecture_is_here():
    assert sorted(BLOCKS) == models.known()


@pytest.mark.parametrize("arch", BLOCKS)
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 8), (1, 5)])
def test_any_size_in_the_same_size_out(arch, size):
    if arch == "classical" and min(size) < 3:
        pytest.skip("scikit-image's methods need some pixels")
    x = noisy(2, 3, *size)
    y = inference.forward(built(arch), x, 25.0)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert torch.isfinite(y).all()
    assert y.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("arch", BLOCKS)
def test_gray_works(arch):
    assert inference.forward(built(arch, channels=1), noisy(1, 1, 20, 20), 25.0).shape == (1, 1, 20, 20)


@pytest.mark.parametrize("arch", BLOCKS)
def test_images_of_a_batch_do_not_mix(arch):
    x = noisy(3, 3, 24, 24)
    model = built(arch)
    assert torch.allclose(inference.forward(model, x, 25.0)[1:2], inference.forward(model, x[1:2], 25.0), atol=1e-5)


@pytest.mark.parametrize("arch", LEARNED)
def test_every_parameter_has_a_finite_gradient(arch):
    model = built(arch).train()
    model(noisy(2, 3, 32, 32)).square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("arch", LEARNED)
def test_it_overfits_a_handful_of_patches(arch):
    torch.manual_seed(0)
    model = models.build(BLOCKS[arch])
    clean = noisy(4, 3, 1, 1).expand(4, 3, 32, 32)
    x = clean + 0.1 * torch.randn(clean.shape, generator=seeding.generator("overfit"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    before = (x - clean).square().mean().item()
    for _ in range(400):
        loss = (model(x) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < before / 4


@pytest.mark.parametrize("arch", ["dncnn", "resunet", "identity"])
def test_reach_bounds_what_an_output_pixel_sees(arch):
    model = built(arch)
    size = 2 * model.reach + 33
    x = noisy(1, 3, size, size).requires_grad_()
    y, centre = model(x), size // 2
    y[0, :, centre, centre].sum().backward()
    seen = x.grad[0].abs().sum(0).nonzero()
    assert (seen - centre).abs().max() <= model.reach


@pytest.mark.parametrize("arch", ["dncnn", "resunet", "identity"])
def test_tiles_equal_the_whole_image(arch):
    image = noisy(1, 3, 333, 421)[0].permute(1, 2, 0).numpy()
    model = built(arch)
    cpu = torch.device("cpu")
    whole = inference.restore(model, image, device=cpu)
    assert np.abs(inference.restore(model, image, device=cpu, tile=128) - whole).max() <= 1e-5 * max(
        1, np.abs(whole).max()
    )


@pytest.mark.parametrize("arch", BLOCKS)
def test_a_saved_model_loads_to_the_same_function(arch, tmp_path):
    model = built(arch)
    weights = {name: model.state_dict() for name in model_store.WEIGHTS}
    model_store.save(tmp_path, weights, {"architecture": BLOCKS[arch]})
    x = noisy(1, 3, 21, 30)
    assert torch.equal(inference.forward(model_store.load(tmp_path), x, 25.0), inference.forward(model, x, 25.0))


def test_damaged_or_foreign_models_are_refused(tmp_path):
    model = built("dncnn")
    model_store.save(
        tmp_path, {name: model.state_dict() for name in model_store.WEIGHTS}, {"architecture": BLOCKS["resunet"]}
    )
    with pytest.raises(ValueError, match=r"best_psnr\.safetensors: cannot be loaded"):
        model_store.load(tmp_path)
    (tmp_path / "best_psnr.safetensors").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"best_psnr\.safetensors: cannot be loaded"):
        model_store.load(tmp_path)
    (tmp_path / "model.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="not of format 1"):
        model_store.load(tmp_path)


def test_dncnn_has_the_papers_count():
    def count(**block) -> int:
        return model_store.parameters(models.build({"arch": "dncnn", "batch_norm": True} | block))

    assert count(channels=3, depth=17, features=64) == 558_403
    assert count(channels=1, depth=17, features=64) == 556_097


@pytest.mark.parametrize("arch", LEARNED)
def test_training_starts_near_the_identity(arch):
    x = noisy(2, 3, 32, 32)
    assert (models.build(BLOCKS[arch]).eval()(x) - x).abs().max() < 0.3


def test_mistakes_name_the_place_and_what_is_allowed():
    with pytest.raises(ValueError, match=r"models\.unet\.arch: 'vgg' is unknown; allowed: classical, dncnn"):
        models.build({"arch": "vgg"}, where="models.unet")
    with pytest.raises(
        ValueError, match=r"models\.unet: unknown key 'dept'; allowed: channels, depth, features, batch_norm"
    ):
        models.build(BLOCKS["dncnn"] | {"dept": 3}, where="models.unet")
    with pytest.raises(ValueError, match=r"models\.unet\.depth: input should be greater than or equal to 2"):
        models.build(BLOCKS["dncnn"] | {"depth": 1}, where="models.unet")
