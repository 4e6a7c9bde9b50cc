"""Where entries compute on a machine with a GPU: what has no weights on the CPU, and no GPU is claimed for it."""

import pytest
import torch

from denoiselab.config import Params
from denoiselab.models import device_choice
from denoiselab.runtime import devices
from pipeline import launcher
from tests.conftest import composed


@pytest.fixture
def on_a_gpu(monkeypatch) -> Params:
    """The parameters of a run on a machine with a GPU, which its settings ask for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return composed("model=[noisy,gaussian,dncnn]", "train.device=cuda")


ENTRIES = [("noisy", "cpu"), ("gaussian", "cpu"), ("dncnn", "cuda")]


@pytest.mark.parametrize(("name", "there"), ENTRIES)
def test_weights_alone_compute_on_a_gpu(on_a_gpu, name, there):
    assert device_choice.device(on_a_gpu, name).type == there


@pytest.mark.parametrize(("name", "there"), ENTRIES)
def test_a_stage_claims_what_its_entry_computes_on(on_a_gpu, monkeypatch, name, there):
    claimed = []
    monkeypatch.setattr(devices, "claim", claimed.append)
    with launcher.processes(on_a_gpu, name, "pipeline.train", several=False):
        assert claimed == [there]


def test_without_weights_no_gpu_is_missed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params = composed("model=[gaussian,dncnn]", "train.device=cuda")
    assert device_choice.device(params, "gaussian").type == "cpu"
    with pytest.raises(ValueError, match=r"train.device: cuda is asked for"):
        device_choice.device(params, "dncnn")


def test_a_mistake_in_the_entrys_block_is_named(tree):
    tree["models"]["dncnn"]["dept"] = 3
    with pytest.raises(ValueError, match=r"models.dncnn: unknown key 'dept'"):
        device_choice.has_weights(Params.model_validate(tree), "dncnn")
