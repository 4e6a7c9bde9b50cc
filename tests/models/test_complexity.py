"""Model complexity against analytic values and torch's FlopCounterMode; the Pareto front and its figure."""

import copy
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.transforms import Bbox
from torch.utils.flop_counter import FlopCounterMode

from denoiselab import architectures
from denoiselab.comparison import pareto
from denoiselab.models import complexity, model_store, tiled_inference
from denoiselab.report.figures import cost as cost_figure
from tests.conftest import composed

DNCNN = {"arch": "dncnn", "channels": 3, "depth": 5, "features": 8, "batch_norm": True}


def test_macs_of_convolutions():
    by_hand = 9 * (3 * 8 + 3 * 8 * 8 + 8 * 3)  # per pixel
    assert complexity.macs_per_megapixel(architectures.build(DNCNN), 3) == by_hand * 10**6
    pooled = {"arch": "resunet", "channels": 3, "widths": [8, 16, 24], "blocks": 1}
    assert complexity.macs_per_megapixel(architectures.build(pooled), 3) == pytest.approx(
        _counted(architectures.build(pooled)), rel=0.01
    )


class Attention(torch.nn.Module):
    """All kinds of products outside standard layers."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.wide = torch.nn.Conv2d(3, 4, 1)
        self.up = torch.nn.ConvTranspose2d(4, 3, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.mix(self.wide(torch.nn.functional.avg_pool2d(x, 2)))
        rows = maps.permute(0, 2, 3, 1)
        rows = rows.unflatten(2, (-1, 16))  # rows of constant length
        rows = torch.nn.functional.scaled_dot_product_attention(rows, rows, rows)
        rows = (rows @ rows.mT) @ rows + torch.matmul(rows, torch.ones(4, 4, device=rows.device))
        return self.up(rows.flatten(2, 3).permute(0, 3, 1, 2))


def test_macs_agree_with_torchs_flop_counter():
    entries = composed(
        "model=[zoo,classifier_cnn,classifier_resnet,guided_oracle,cae,pixelshuffle_unet]"
    ).models.values()
    nets = [
        net for net in (architectures.outline(entry.architecture()) for entry in entries) if model_store.parameters(net)
    ]
    assert len({type(net) for net in nets}) > 8
    for net in nets:
        compare(net)


def test_macs_of_other_products_agree_with_torchs_flop_counter():
    compare(Attention())


def compare(model: torch.nn.Module) -> None:
    """Compare with FlopCounterMode, which counts a multiplication and an addition as two operations."""
    macs = complexity.macs_per_megapixel(model, 3)
    outline = copy.deepcopy(model).to("meta")
    image, label = torch.empty(1, 3, complexity.SIDE, complexity.SIDE, device="meta"), torch.zeros(1, dtype=torch.long)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tiled_inference.forward(outline, image, 25.0, label.to("meta"))
    assert macs == round(counter.get_total_flops() / 2 / complexity.SIDE**2 * 1e6) > 0


def test_counting_does_not_import_torchs_compiler():
    code = f"""
import sys
from denoiselab import architectures
from denoiselab.models import complexity
assert complexity.macs_per_megapixel(architectures.build({DNCNN}), 3)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def _counted(model: torch.nn.Module, side: int = 128) -> float:
    """MACs per megapixel, from the output shapes of all convolutions."""
    total = 0.0

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        wide = inputs[0] if isinstance(layer, torch.nn.ConvTranspose2d) else output
        total += layer.weight.numel() * wide.shape[-2] * wide.shape[-1]

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            assert layer.groups == 1
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.rand(1, 3, side, side))
    return total / side**2 * 1e6


def test_macs_include_the_guiding_classifier():
    classifier = architectures.build(
        {"arch": "classifier_cnn", "channels": 3, "widths": [4, 8], "batch_norm": True, "classes": 2, "side": 4}
    )
    block = {"arch": "guided_unet", "channels": 3, "widths": [4, 6, 8], "batch_norm": True, "classes": 2}
    guided, alone = (architectures.build(block | {"guidance": kind}) for kind in ("classifier", "zeroed"))
    both = complexity.macs_per_megapixel(alone, 3) + complexity.macs_per_megapixel(classifier, 3)
    guided.adopt(classifier)
    assert complexity.macs_per_megapixel(guided, 3) == pytest.approx(both, rel=1e-3)
    oracle = architectures.build(block | {"guidance": "oracle"})
    assert complexity.macs_per_megapixel(oracle, 3) == complexity.macs_per_megapixel(alone, 3)


def test_methods_without_weights_have_no_macs():
    block = {"arch": "classical", "channels": 3, "method": "gaussian", "strengths": [1.0]}
    assert complexity.macs_per_megapixel(architectures.build(block), 3) is None


def test_size_and_memory_are_those_of_the_file_and_the_process(tmp_path):
    model = architectures.build(DNCNN)
    card = {"architecture": DNCNN, "adopted": None}
    model_store.save(tmp_path, {"best_psnr": model.state_dict(), "best_ssim": {}}, card)
    cpu = torch.device("cpu")
    before = complexity.of(model, tmp_path, cpu)
    values = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    assert values <= 1e6 * before["weights_mb"] < values + 4000  # plus names and shapes
    if sys.platform == "linux":
        taken = np.ones(int(2**20 * (before["peak_mib"] + 64)), np.uint8)  # above the previous peak
        assert complexity.peak_mib(cpu) > before["peak_mib"] + 32
        del taken


@pytest.mark.skipif(sys.platform != "linux", reason="only there peak memory is inherited by child processes")
def test_peak_memory_excludes_the_parent_process():
    taken = np.ones(2**29, np.uint8)
    code = "from denoiselab.models import complexity; print(complexity.process_peak_mib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10 < float(done.stdout) < complexity.process_peak_mib() - 256
    del taken


def test_pareto_front():
    costs_, qualities = [1, 2, 3, 4, 2, 5], [20, 30, 25, 31, 30, float("nan")]
    assert pareto.front(costs_, qualities) == [True, True, False, True, True, False]
    assert pareto.front([100, 100, 100, 100], [31, 28, 25, 31]) == [True, False, False, True]


def test_the_figure_labels_every_model_without_covering_labels(tmp_path, monkeypatch):
    names = ["gaussian", "median", "bilateral", "nlm", "tv", "wavelet", "dncnn", "unet"]
    rows = pd.DataFrame({"model": names, "psnr": [26.4, 25.3, 28.4, 29.4, 28.1, 27.8, 29.5, 29.6]})
    rows = rows.assign(
        set="s",
        protocol="p",
        protocol_sha256="h",
        condition="c",
        place="S, c",
        ms=[114, 1928, 160, 1874, 916, 315, 1800, 1700],
    )
    rows = rows.assign(macs=[0] * 6 + [57e3, 24e3], parameters=[0] * 6 + [57443, 881340])
    kept = []
    monkeypatch.setattr(cost_figure, "save", lambda figure, path: kept.append(figure))
    found = cost_figure.tradeoffs(rows, tmp_path)
    assert [one["title"] for one in found] == ["PSNR against ms per megapixel: S, c"]  # two models have MAC
    (figure,) = kept
    try:
        (times,) = figure.axes
        assert [text.get_text() for text in times.texts] == names
        assert times.get_title().replace("\n", ": ") == found[0]["title"]
        boxes = [cost_figure.Text.get_window_extent(text) for text in times.texts]
        pairs = [(a, b) for n, a in enumerate(boxes) for b in boxes[:n]]
        shared = [(Bbox.intersection(a, b), min(a.width * a.height, b.width * b.height)) for a, b in pairs]
        assert all(part is None or part.width * part.height < 0.1 * smaller for part, smaller in shared)
        steps = times.lines[0]
        assert list(steps.get_xdata()) == [114, 160, 1700]
    finally:
        plt.close(figure)
