"""Pre-trained weights: the two public DnCNN layouts, and invalid files."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from denoiselab import architectures
from denoiselab.models import pretrained
from denoiselab.runtime.errors import UserError

FOLDED = {"arch": "dncnn", "channels": 1, "depth": 5, "features": 8, "batch_norm": False}
NORMED = FOLDED | {"batch_norm": True}


def kair(depth: int = 5, features: int = 8) -> nn.Sequential:
    """KAIR's layout: `model.N`, BatchNorm folded in, predicts the noise."""
    layers: list[nn.Module] = []
    for n in range(depth):
        layers.append(nn.Conv2d(1 if n == 0 else features, 1 if n == depth - 1 else features, 3, padding=1))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers[:-1])


def saoyan(depth: int = 5, features: int = 8) -> nn.Sequential:
    """SaoYan's layout: `module.dncnn.N`, with BatchNorm, no biases."""
    layers: list[nn.Module] = [nn.Conv2d(1, features, 3, padding=1, bias=False), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(features, features, 3, padding=1, bias=False), nn.BatchNorm2d(features), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Conv2d(features, 1, 3, padding=1, bias=False))
    for module in net:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


@pytest.mark.parametrize(("net", "prefix", "block"), [(kair(), "model.", FOLDED), (saoyan(), "module.dncnn.", NORMED)])
def test_a_public_layout_gives_the_same_output(tmp_path, net, prefix, block):
    torch.save({prefix + name: tensor for name, tensor in net.state_dict().items()}, tmp_path / "weights.pth")
    model = architectures.build(block)
    pretrained.load_weights(model, "dncnn", tmp_path / "weights.pth")
    noisy = torch.rand(2, 1, 21, 34)
    with torch.no_grad():
        assert torch.allclose(model.eval()(noisy), noisy - net(noisy), atol=1e-6)


def test_own_weights_round_trip(tmp_path):
    own = architectures.build(NORMED)
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    model = architectures.build(NORMED)
    pretrained.load_weights(model, "dncnn", tmp_path / "own.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 6}, "lacks layers.10.bias"),
        ({"depth": 4}, "unknown: layers.8.bias"),
        ({"features": 16}, "wrong shapes: layers.0.bias"),
        ({"batch_norm": True}, "does not fit dncnn"),
    ],
)
def test_weights_of_another_shape_are_refused(tmp_path, change, message):
    torch.save({f"model.{name}": tensor for name, tensor in kair().state_dict().items()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=message) as error:
        pretrained.load_weights(architectures.build(FOLDED | change), "dncnn", tmp_path / "weights.pth")
    assert len(str(error.value).splitlines()) == 1


class Trap:
    """Executes code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_weights_file_is_not_run(tmp_path, writer):
    writer({"model.0.weight": Trap(tmp_path / "sprung")}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="not a file of plain tensors"):
        pretrained.load_weights(architectures.build(FOLDED), "dncnn", tmp_path / "weights.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("name", "content"), [("a.pth", b"hello"), ("b.pth", b""), ("c.safetensors", b"hello")])
def test_other_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as error:
        pretrained.load_weights(architectures.build(FOLDED), "dncnn", tmp_path / name)
    assert len(str(error.value).splitlines()) == 1
