"""denoiselab weights."""

import pytest
import torch
import yaml

from denoiselab import architectures
from denoiselab.config import Entry
from denoiselab.models import pretrained
from tests.architectures.test_architectures import BLOCKS
from tests.command import denoiselab
from tests.models.test_pretrained import PUBLISHED, published


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_printed_entry_imports_the_file(tmp_path, name):
    _, content, block = published(name)
    path = tmp_path / "Net 25 (best).pth"
    torch.save(content, path)
    said = denoiselab("weights", path)
    assert said.code == 0
    assert said.out.startswith("# @package models.net_25_best\n")
    entry = Entry.model_validate(yaml.safe_load(said.out))
    assert architectures.settings(entry.architecture()) == architectures.settings(block)
    assert len(entry.overrides()) == 0
    model = architectures.build(entry.architecture())
    pretrained.load_weights(model, entry.architecture(), path)
    assert "# noise: {kind: gaussian" in said.out and "licence" in said.out


def test_an_unknown_network_is_listed_with_the_ways_on(tmp_path):
    torch.save(architectures.build(BLOCKS["unet_classic"]).state_dict(), tmp_path / "unet.pth")
    said = denoiselab("weights", tmp_path / "unet.pth")
    assert said.code == 1
    assert "unet.pth: no known network; " in said.out
    assert "  down_stages.0.0.weight: 6 x 3 x 3 x 3\n" in said.out
    assert "arch spandrel" in said.out and "docs/published-weights.md" in said.out
    listed = denoiselab("weights", tmp_path / "unet.pth", "--json")
    assert listed.code == 1
    assert listed.json["block"] is None
    assert listed.json["tensors"]["down_stages.0.0.weight"] == [6, 3, 3, 3]


def test_other_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"hello")
    for name in ("a.pth", "missing.pth"):
        said = denoiselab("weights", tmp_path / name)
        assert said.code == 1
        assert name in said.err and len(said.err.splitlines()) == 1
