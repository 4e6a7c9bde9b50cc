"""ONNX files: any input size, the same results as PyTorch, for every restoring architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from denoiselab import architectures
from denoiselab.app import denoisers, onnx_export
from denoiselab.models import model_store, tiled_inference
from denoiselab.models.metadata import CLASSICAL
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError
from tests.architectures.test_architectures import BLOCKS, CLASSIFIERS, built, noisy
from tests.conftest import ROOT

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SIZES = [(1, 8, 8), (3, 1, 5), (1, 161, 67)]  # other than those that the export checks
GUIDANCES = ["classifier", "shuffled", "zeroed", "oracle"]


def run(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def check_any_size(model: nn.Module, path: Path, **second: torch.Tensor) -> None:
    for batch, height, width in SIZES:
        x = noisy(batch, 3, height, width)
        exported = {name: value.expand(batch).contiguous() for name, value in second.items()}
        with torch.no_grad():
            expected = model(x, *exported.values())
        assert (run(path, noisy=x, **exported) - expected).abs().max() <= 1e-4


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[nn.Module, Path, onnx_export.Exported]:
    """A network that takes the noise level, and its file."""
    model, path = built("drunet", widths=[4, 6]), tmp_path_factory.mktemp("onnx") / "drunet.onnx"
    return model, path, onnx_export.export(model, 3, path, {"name": "drunet", "licence": "MIT"})


def test_the_level_is_a_second_input(exported):
    model, path, exported = exported
    assert exported.inputs == {"noisy": ["batch", 3, "height", "width"], "sigma_255": ["batch"]}
    check_any_size(model, path, sigma_255=torch.tensor([40.0]))
    x = noisy(1, 3, 20, 20)
    weak, strong = (run(path, noisy=x, sigma_255=torch.tensor([level])) for level in (5.0, 50.0))
    assert not torch.allclose(weak, strong)


def test_the_difference_is_reported_at_three_sizes_including_odd_ones(exported):
    shapes = [check.shape for check in exported[2].checks]
    assert len(shapes) == 3
    assert any(height % 2 and width % 2 for _, height, width in shapes)
    assert all(0 < check.difference <= onnx_export.BOUND for check in exported[2].checks)
    assert exported[2].parameters == model_store.parameters(exported[0])


def test_the_file_has_the_notes_and_no_local_paths(exported):
    model = onnx.load(exported[1])
    assert {entry.key: entry.value for entry in model.metadata_props} == {"name": "drunet", "licence": "MIT"}
    assert str(ROOT).encode() not in exported[1].read_bytes()
    assert b"stack_trace" not in exported[1].read_bytes()
    names = [dimension.dim_param for dimension in model.graph.output[0].type.tensor_type.shape.dim]
    assert names == ["batch", "", "height", "width"]


class Drifting(nn.Module):
    """Gives a different result every time, like a wrong export."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + self.calls


def test_a_wrong_export_is_deleted(tmp_path):
    with pytest.raises(UserError, match=r"not written; onnxruntime and PyTorch differ by .*, the limit is 1e-04"):
        onnx_export.export(Drifting(), 3, tmp_path / "drifting.onnx", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        *((c, "run classical methods with denoiselab") for c in CLASSICAL),
        *((c, "this is a classifier") for c in CLASSIFIERS),
    ],
)
def test_classifiers_and_classical_methods_are_refused(arch, reason, tmp_path):
    with pytest.raises(UserError, match=reason):
        onnx_export.export(architectures.build((BLOCKS | CLASSIFIERS)[arch]), 3, tmp_path / "refused.onnx", {})


@pytest.mark.parametrize("side", [1, 2, 5, 8, 12, 25])
@pytest.mark.parametrize("cells", [1, 2, 3, 12])
def test_the_mean_of_cells_equals_torch(side, cells):
    x = noisy(2, 3, side, side + 3)
    assert torch.allclose(onnx_export.mean_of_cells(x, [cells, 2]), F.adaptive_avg_pool2d(x, (cells, 2)), atol=1e-6)


def test_the_digest_is_that_of_the_weights_file_whatever_its_precision():
    for entry in denoisers.known():
        if entry.origin == "released":
            block = yaml.safe_load((ROOT / f"conf/model/released/{entry.name}.yaml").read_text(encoding="utf-8"))
            notes = onnx_export.notes(denoisers.load(entry.name))
            assert notes["weights_sha256"] == block["sha256"] == files.sha256(ROOT / block["weights"])


@pytest.mark.slow
@pytest.mark.parametrize("arch", sorted({*BLOCKS} - {*CLASSICAL, "guided_unet"}))
def test_every_restoring_architecture_is_exported(arch, tmp_path):
    model, path = built(arch), tmp_path / "model.onnx"
    onnx_export.export(model, 3, path, {})
    aware = getattr(model, "noise_aware", False)
    check_any_size(model, path, **({"sigma_255": torch.tensor([30.0])} if aware else {}))


@pytest.mark.slow
@pytest.mark.parametrize("guidance", GUIDANCES)
def test_guided_networks_are_exported_with_their_guidance(guidance, tmp_path):
    model, path = built("guided_unet", guidance=guidance), tmp_path / "model.onnx"
    onnx_export.export(model, 3, path, {})
    check_any_size(model, path, **({"label": torch.tensor([3])} if guidance == "oracle" else {}))


@pytest.mark.slow
def test_exported_weights_restore_a_photograph_like_pytorch(astronaut, tmp_path):
    model, path = model_store.load(ROOT / "models/released/colour_fast"), tmp_path / "colour.onnx"
    onnx_export.export(model, 3, path, {})
    photo = astronaut[100:233, 50:261].astype(np.float32) / 255
    restored = tiled_inference.restore(model, photo, device=torch.device("cpu"))
    assert (
        np.abs(
            run(path, noisy=torch.from_numpy(photo).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy() - restored
        ).max()
        < 1e-4
    )
