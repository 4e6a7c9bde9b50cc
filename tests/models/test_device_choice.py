"""Choice of device on a machine with a GPU: methods without weights use the CPU and reserve no GPU."""

import pytest
import torch

from denoiselab.config import Params
from denoiselab.models import device_choice
from denoiselab.runtime import devices
from denoiselab.runtime.errors import UserError
from pipeline import launcher
from tests.conftest import composed


@pytest.fixture
def on_a_gpu(monkeypatch) -> Params:
    """Parameters with train.device cuda, on a machine with a simulated GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return composed("model=[noisy,gaussian,dncnn]", "train.device=cuda")


ENTRIES = [("noisy", "cpu"), ("gaussian", "cpu"), ("dncnn", "cuda")]


@pytest.mark.parametrize(("name", "device"), ENTRIES)
def test_only_models_with_weights_use_the_gpu(on_a_gpu, name, device):
    assert device_choice.device(on_a_gpu, name).type == device


@pytest.mark.parametrize(("name", "device"), ENTRIES)
def test_stages_claim_the_device_of_their_model(on_a_gpu, monkeypatch, name, device):
    claimed = []
    monkeypatch.setattr(devices, "claim", claimed.append)
    with launcher.processes(on_a_gpu, name, "pipeline.train", several=False):
        assert claimed == [device]


def test_methods_without_weights_need_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params = composed("model=[gaussian,dncnn]", "train.device=cuda")
    assert device_choice.device(params, "gaussian").type == "cpu"
    with pytest.raises(UserError, match=r"train.device: cuda was requested"):
        device_choice.device(params, "dncnn")


def test_an_invalid_block_is_refused(tree):
    tree["models"]["dncnn"]["dept"] = 3
    with pytest.raises(UserError, match=r"models.dncnn: unknown key 'dept'"):
        device_choice.has_weights(Params.model_validate(tree), "dncnn")
