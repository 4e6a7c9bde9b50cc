"""Networks of the library spandrel: with a stand-in for it, and with the library itself where it is installed."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from denoiselab import architectures
from denoiselab.models import complexity, model_store, pretrained, tiled_inference
from denoiselab.runtime.errors import UserError

BLOCK = {"arch": "spandrel", "channels": 3}
CPU = torch.device("cpu")


class Descriptor:
    """What spandrel.ModelLoader returns: the network, facts about it, and a call for one image (1, C, H, W)."""

    def __init__(self, tensors, scale=1):
        outputs, inputs = tensors["conv.weight"].shape[:2]
        self.model = nn.Sequential()
        self.model.add_module("conv", nn.Conv2d(inputs, outputs, 3, padding=1))
        self.model.load_state_dict(tensors)
        self.architecture, self.scale = SimpleNamespace(name="Toy"), scale
        self.input_channels, self.output_channels = inputs, outputs

    def __call__(self, image):
        assert len(image) == 1
        return self.model(image).clamp(0, 1)


def stand_in(monkeypatch) -> ModuleType:
    """A stand-in for the module spandrel; its `make` builds the descriptor from the tensors."""
    fake = ModuleType("spandrel")
    fake.make = Descriptor
    fake.ModelLoader = lambda device: SimpleNamespace(load_from_state_dict=lambda tensors: fake.make(tensors))
    monkeypatch.setitem(sys.modules, "spandrel", fake)
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)  # not installed
    return fake


library = pytest.fixture(stand_in)


def toy(channels: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"conv.{name}": tensor for name, tensor in nn.Conv2d(channels, channels, 3).state_dict().items()}


def imported(path, tensors) -> nn.Module:
    torch.save({"params": tensors}, path)
    model = architectures.build(BLOCK)
    pretrained.load_weights(model, BLOCK, path)
    return model.eval()


def test_an_imported_network_is_stored_counted_and_used_like_any_other(library, tmp_path):
    model = imported(tmp_path / "toy.pth", toy())
    model_store.save(tmp_path / "net", {"best_psnr": model.state_dict()}, {"architecture": BLOCK, "adopted": None})
    stored = model_store.load(tmp_path / "net")
    noisy = torch.rand(2, 3, 21, 30)
    own = model(noisy)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(stored(noisy), own)
    assert model_store.parameters(stored) == 3 * 3 * 9 + 3
    assert complexity.macs_per_megapixel(stored, 3) == 3 * 3 * 9 * 10**6
    image = noisy[0].permute(1, 2, 0).numpy()
    restored = tiled_inference.restore(stored, image, device=CPU, tile=64)
    assert np.allclose(restored, stored(noisy[:1])[0].permute(1, 2, 0).detach(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"make": lambda tensors: Descriptor(tensors, scale=4)},
            "Toy with these weights is no denoiser: its scale",
        ),
        ({"make": lambda tensors: Descriptor(toy(1))}, "Toy has 1 channels; the settings say 3"),
        ({"make": lambda tensors: {}["nothing"]}, "arch spandrel: unknown network: 'nothing'"),
        (None, r"arch spandrel needs packages: pip install 'denoiselab\[spandrel\]'"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_line(library, monkeypatch, tmp_path, change, message):
    for name, value in (change or {}).items():
        monkeypatch.setattr(library, name, value)
    if change is None:
        monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UserError, match=message) as error:
        imported(tmp_path / "toy.pth", toy())
    assert len(str(error.value).splitlines()) == 1


def test_a_network_without_weights_names_what_is_missing():
    with pytest.raises(UserError, match="add weights and sha256 to the entry"):
        architectures.build(BLOCK)(torch.rand(1, 3, 8, 8))


def test_a_transformer_of_the_library_gives_its_own_output(tmp_path):
    pytest.importorskip("spandrel", exc_type=ImportError)
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    net = SwinIR(img_size=16, depths=[2], embed_dim=12, num_heads=[2], window_size=8, upsampler="").eval()
    model = imported(tmp_path / "swinir.pth", net.state_dict())
    noisy = torch.rand(2, 3, 24, 32)
    with torch.no_grad():
        assert torch.allclose(model(noisy), net(noisy).clamp(0, 1), atol=1e-5)
    model_store.save(tmp_path / "net", {"best_psnr": model.state_dict()}, {"architecture": BLOCK, "adopted": None})
    assert model_store.load(tmp_path / "net")(torch.rand(1, 3, 21, 30)).shape == (1, 3, 21, 30)
