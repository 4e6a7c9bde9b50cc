"""Published weights: each layout gives the outputs of its network, settings are recognised, wrong files are refused.

The networks here have the published names and are written independently of ours.
"""

import pickle
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from denoiselab import architectures
from denoiselab.models import pretrained
from denoiselab.runtime.errors import UserError
from tests.architectures.test_architectures import BLOCKS

DNCNN = {"arch": "dncnn", "channels": 1, "depth": 5, "features": 8, "batch_norm": False, "bias": "without_norm"}
NORMED = DNCNN | {"batch_norm": True}
FFDNET = {"arch": "ffdnet", "channels": 3, "depth": 4, "features": 12, "batch_norm": False}
DRUNET = {"arch": "drunet", "channels": 3, "widths": [4, 6, 8, 10], "blocks": 2, "noise_map": True}
NAFNET = {"arch": "nafnet", "channels": 3, "width": 4, "encoder": [1, 2], "middle": 3, "decoder": [2, 1]}


class Stack(nn.Module):
    """DnCNN and FFDNet: numbered layers in the attribute `at`. `biased`: the first, the inner, the last convolution."""

    def __init__(self, at, inputs, outputs, depth, features, biased=(True, True, True), norm=False, eps=1e-5):
        super().__init__()
        layers = [nn.Conv2d(inputs, features, 3, padding=1, bias=biased[0]), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(features, features, 3, padding=1, bias=biased[1])]
            layers += [*([nn.BatchNorm2d(features, eps=eps)] if norm else []), nn.ReLU()]
        self.add_module(at, nn.Sequential(*layers, nn.Conv2d(features, outputs, 3, padding=1, bias=biased[2])))

    def forward(self, x):
        return x - next(self.children())(x)


class Ffdnet(Stack):
    def forward(self, x):
        level = torch.full_like(x[:, :1, ::2, ::2], 25 / 255)
        return F.pixel_shuffle(self.model(torch.cat((F.pixel_unshuffle(x, 2), level), 1)), 2)


class ResBlock(nn.Module):
    def __init__(self, n):
        super().__init__()
        convolutions = [nn.Conv2d(n, n, 3, padding=1, bias=False) for _ in range(2)]
        self.res = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1])

    def forward(self, x):
        return x + self.res(x)


class UNetRes(nn.Module):
    """DRUNet with the names of KAIR and DPIR."""

    def __init__(self, channels, nc, nb):
        super().__init__()

        def blocks(n):
            return [ResBlock(n) for _ in range(nb)]

        self.m_head = nn.Conv2d(channels + 1, nc[0], 3, padding=1, bias=False)
        for n, (a, b) in enumerate(pairwise(nc), 1):
            self.add_module(f"m_down{n}", nn.Sequential(*blocks(a), nn.Conv2d(a, b, 2, 2, bias=False)))
            self.add_module(f"m_up{n}", nn.Sequential(nn.ConvTranspose2d(b, a, 2, 2, bias=False), *blocks(a)))
        self.m_body = nn.Sequential(*blocks(nc[-1]))
        self.m_tail = nn.Conv2d(nc[0], channels, 3, padding=1, bias=False)

    def forward(self, x):
        x1 = self.m_head(torch.cat((x, torch.full_like(x[:, :1], 25 / 255)), 1))
        x2 = self.m_down1(x1)
        x3 = self.m_down2(x2)
        x4 = self.m_down3(x3)
        x = self.m_up3(self.m_body(x4) + x4)
        return self.m_tail(self.m_up1(self.m_up2(x + x3) + x2) + x1)


class Norm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(n)), nn.Parameter(torch.rand(n))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / ((x - mean).square().mean(1, keepdim=True) + 1e-6).sqrt()
        return self.weight.view(1, -1, 1, 1) * x + self.bias.view(1, -1, 1, 1)


class Block(nn.Module):
    """NAFNet's block with the names of its repository."""

    def __init__(self, c):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.conv3, self.conv4, self.conv5 = nn.Conv2d(c, c, 1), nn.Conv2d(c, 2 * c, 1), nn.Conv2d(c, c, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1))
        self.norm1, self.norm2 = Norm(c), Norm(c)
        self.beta, self.gamma = (nn.Parameter(torch.rand(1, c, 1, 1)) for _ in range(2))

    def forward(self, inp):
        a, b = self.conv2(self.conv1(self.norm1(inp))).chunk(2, 1)
        y = inp + self.conv3(a * b * self.sca(a * b)) * self.beta
        a, b = self.conv4(self.norm2(y)).chunk(2, 1)
        return y + self.conv5(a * b) * self.gamma


class NafNet(nn.Module):
    def __init__(self, width, middle, encoder, decoder):
        super().__init__()
        self.intro, self.ending = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.encoders, self.downs, self.ups, self.decoders = (nn.ModuleList() for _ in range(4))
        for number in encoder:
            self.encoders.append(nn.Sequential(*(Block(width) for _ in range(number))))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, 2))
            width *= 2
        self.middle_blks = nn.Sequential(*(Block(width) for _ in range(middle)))
        for number in decoder:
            self.ups.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(nn.Sequential(*(Block(width) for _ in range(number))))

    def forward(self, inp):
        x, skips = self.intro(inp), []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.middle_blks(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        return self.ending(x) + inp


UNBIASED = NORMED | {"bias": "none"}
NONE, FIRST, ALL = (False,) * 3, (True, False, False), (True,) * 3
PUBLISHED = {  # the published network; how its names are wrapped; the container; the block
    "KAIR's DnCNN": (lambda: Stack("model", 1, 1, 5, 8), "", None, DNCNN),
    "SaoYan's DnCNN": (lambda: Stack("dncnn", 1, 1, 5, 8, NONE, True), "module.", None, UNBIASED),
    "BUIFD's DnCNN": (lambda: Stack("dncnn", 1, 1, 5, 8, NONE, True), "module.dncnn.", "net", UNBIASED),
    "the authors' DnCNN": (lambda: Stack("dncnn", 1, 1, 5, 8, FIRST, True, 1e-4), "", "state_dict", NORMED),
    "DnCNN with all biases": (lambda: Stack("model", 1, 1, 5, 8, ALL, True), "net.", None, NORMED | {"bias": "all"}),
    "KAIR's FFDNet": (lambda: Ffdnet("model", 13, 12, 4, 12), "", "params", FFDNET),
    "DRUNet": (lambda: UNetRes(3, DRUNET["widths"], 2), "", None, DRUNET),
    "NAFNet": (lambda: NafNet(4, 3, NAFNET["encoder"], NAFNET["decoder"]), "module.", "params", NAFNET),
}


def published(name: str) -> tuple[nn.Module, dict[str, torch.Tensor], dict]:
    """The network, what its authors' code would write, and our block."""
    make, prefix, container, block = PUBLISHED[name]
    torch.manual_seed(0)
    net = make().eval()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) * 0.4 + (0.1 if tensor.ndim == 1 else -0.2))
    tensors = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    return net, {container: tensors, "epoch": torch.tensor(3)} if container else tensors, block


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_layout_is_recognised_and_gives_the_same_output(tmp_path, name):
    net, content, block = published(name)
    torch.save(content, tmp_path / "weights.pth")
    assert pretrained.recognise(pretrained.read(tmp_path / "weights.pth")) == block
    model = architectures.build(block)
    pretrained.load_weights(model, block, tmp_path / "weights.pth")
    noisy = torch.rand(2, block["channels"], 24, 32)
    with torch.no_grad():
        theirs, ours = net(noisy), model.eval()(noisy, *([25.0] if getattr(model, "noise_aware", False) else []))
    assert torch.allclose(ours, theirs, atol=1e-5 * theirs.abs().max())
    assert (theirs - noisy).abs().max() > 0.01


@pytest.mark.parametrize("arch", ["dncnn", "drunet", "ffdnet", "nafnet", "resunet", "winnet"])
def test_our_own_layout_round_trips_and_is_recognised(tmp_path, arch):
    own = architectures.build(BLOCKS[arch])
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    model = architectures.build(BLOCKS[arch])
    pretrained.load_weights(model, BLOCKS[arch], tmp_path / "own.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own.parameters(), strict=True))
    found = pretrained.recognise(pretrained.read(tmp_path / "own.safetensors"))
    untold = {"bias", "noise_map"} | ({"channels"} if arch == "winnet" else set())  # it restores each channel alone
    assert found == BLOCKS[arch] | {key: found[key] for key in found.keys() & untold}


@pytest.mark.parametrize("arch", ["unet_classic", "cae", "cnn", "guided_unet", "pixelshuffle_unet"])
def test_other_networks_are_not_recognised(arch):
    assert pretrained.recognise(architectures.build(BLOCKS[arch]).state_dict()) is None


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (DNCNN | {"depth": 6}, "these weights are of depth 5; the settings say depth 6"),
        (
            DNCNN | {"features": 16, "batch_norm": True},
            "of features 8, batch_norm false; the settings say features 16, batch_norm true",
        ),
        (DNCNN | {"bias": "none"}, "of bias without_norm; the settings say bias none"),
        (DNCNN | {"channels": 3}, "of channels 1; the settings say channels 3"),
        (FFDNET, "does not fit ffdnet: these weights are of arch dncnn"),
    ],
)
def test_weights_of_other_settings_are_refused_in_the_words_of_the_settings(tmp_path, block, message):
    torch.save(published("KAIR's DnCNN")[1], tmp_path / "weights.pth")
    with pytest.raises(UserError, match=message) as error:
        pretrained.load_weights(architectures.build(block), block, tmp_path / "weights.pth")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("arch", ["dncnn", "drunet", "ffdnet", "nafnet", "resunet", "winnet"])
@pytest.mark.parametrize("change", [lambda t: t.sum(), lambda t: t[None], lambda t: t[:0]])
def test_tensors_of_impossible_shapes_are_not_recognised(arch, change):
    tensors = architectures.build(BLOCKS[arch]).state_dict()
    shaped = [name for name, tensor in tensors.items() if tensor.ndim]
    for name in {*shaped[:2], *shaped[-2:], *shaped[:: max(1, len(shaped) // 4)]}:
        assert pretrained.recognise(tensors | {name: change(tensors[name])}) is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_part_of_a_published_file_is_refused_by_name(tmp_path, name):
    _, content, block = published(name)
    tensors = pretrained.read(saved(tmp_path, content))
    names, architecture = [*tensors], architectures.build(block)
    parts = [names[:1], names[-1:], *([name] for name in names[:: max(1, len(names) // 8)]), names[:2], names[1:]]
    for part in parts:
        path = saved(tmp_path, {name: tensors[name] for name in part})
        assert pretrained.recognise(pretrained.read(path)) != block
        with pytest.raises(UserError, match=r"^\S+weights\.pth: does not fit \w+: "):
            pretrained.load_weights(architecture, block, path)


def saved(folder, content):
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def test_weights_of_no_known_layout_are_refused_by_name(tmp_path):
    content = published("KAIR's DnCNN")[1] | {"model.9.extra": torch.zeros(2)}
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"does not fit dncnn: unknown: layers\.9\.extra"):
        pretrained.load_weights(architectures.build(DNCNN), DNCNN, tmp_path / "weights.pth")


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
        pretrained.load_weights(architectures.build(DNCNN), DNCNN, tmp_path / "weights.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("name", "content"), [("a.pth", b"hello"), ("b.pth", b""), ("c.safetensors", b"hello")])
def test_other_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as error:
        pretrained.load_weights(architectures.build(DNCNN), DNCNN, tmp_path / name)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [1], {"model": {"model": 1}}])
def test_files_without_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="not a mapping of names to tensors"):
        pretrained.read(tmp_path / "a.pth")
