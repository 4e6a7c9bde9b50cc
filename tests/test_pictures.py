"""The pictures of the documentation: they are what the code draws today, and they show all of it."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn

from denoiselab import models
from docs.make import architectures, flow
from docs.make.trace import trace
from tests.conftest import ROOT

PICTURES = ROOT / "docs/pictures"
DRAWN = {"pipeline", *architectures.ENTRIES}


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_architecture_that_has_weights_is_drawn():
    assert set(architectures.ENTRIES) == set(models.known()) - {"classical", "identity"}


def test_the_pipeline_is_drawn_as_it_is():
    assert (PICTURES / "pipeline.svg").read_text(encoding="utf-8") == flow.picture(), "python -m docs.make"


@pytest.mark.slow
@pytest.mark.parametrize("arch", architectures.ENTRIES)
def test_an_architecture_is_drawn_as_it_is(arch):
    text = architectures.picture(arch)
    assert (PICTURES / f"{arch}.svg").read_text(encoding="utf-8") == text, "python -m docs.make"


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_picture_stands_alone(name):
    """Nothing from elsewhere, and nothing beyond its sheet."""
    sheet = ET.fromstring((PICTURES / f"{name}.svg").read_text(encoding="utf-8"))
    width, height = float(sheet.get("width")), float(sheet.get("height"))
    for mark in sheet.iter():
        assert not any("href" in key for key in mark.attrib)
        for key, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            assert 0 <= float(mark.get(key, 0)) <= most, mark.attrib
    assert len(re.findall("<rect", (PICTURES / f"{name}.svg").read_text(encoding="utf-8"))) > 5


def test_every_stage_and_output_is_in_the_picture():
    text = flow.picture()
    for stage in flow.stages():
        assert f">{stage.name}</text>" in text
        for path in stage.writes:
            assert path.rpartition("/")[2] in text


def test_what_is_read_and_where_it_is_kept_is_dvc_yamls():
    found = {stage.name: stage for stage in flow.stages()}
    assert found["train@M"].reads == ["data/patches", "data/noisy"]
    assert found["compare"].writes["reports/report.md"] == "Git"
    assert found["train@M"].writes["models/M"] == "DVC"
    assert flow.reads(found["compare"], "models/M") and not flow.reads(found["patchify"], "models/M")


class Joined(nn.Module):
    """A layer, its repetition, a way around them, and a parameter that nothing uses."""

    def __init__(self, unused: int = 0):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(2)))
        self.down = nn.MaxPool2d(2)
        self.unused = nn.Parameter(torch.zeros(unused))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(x + self.layers(x))


def test_a_trace_finds_layers_repetitions_and_skips():
    image, layers, join, down = trace(Joined(), ("x", torch.rand(1, 3, 8, 8)))
    assert (layers.label, layers.repeat, layers.parameters) == ("3×3 convolution, ReLU", 2, 2 * 84)
    assert join.label == "+" and join.inputs == [image, layers]
    assert down.label == "2×2 max pooling" and down.shape == (3, 4, 4)


def test_a_parameter_that_would_be_missing_in_a_picture_is_noticed():
    with pytest.raises(AssertionError, match="168 of 173 parameters"):
        trace(Joined(unused=5), ("x", torch.rand(1, 3, 8, 8)))
