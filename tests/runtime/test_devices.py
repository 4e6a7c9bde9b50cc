"""Devices: each stage's process has a GPU to itself. The GPUs here are made up, the processes are not."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from denoiselab.runtime import devices
from tests.conftest import ROOT

UUIDS = ["GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333"]
CLAIM = """
import os, sys
from denoiselab.runtime import devices
devices.claim("auto", int(os.environ.get("NUMBER", 1)))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the made-up nvidia-smi is a shell script")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine with three GPUs, of which nobody has claimed any."""
    script = tmp_path / "bin" / "nvidia-smi"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n" + "".join(f"echo {uuid}\n" for uuid in UUIDS))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "_claimed", [])
    return tmp_path


@pytest.fixture
def claiming():
    """Starts processes that claim a GPU and keep it until they end."""
    started = []

    def start(**environment: str) -> subprocess.Popen:
        found = os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen([sys.executable, "-c", CLAIM], env=found, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def claimed(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


def test_processes_side_by_side_have_a_gpu_each_and_a_fourth_waits(machine, claiming):
    three = [claiming() for _ in UUIDS]
    gpus = [claimed(process) for process in three]
    assert sorted(gpus) == UUIDS
    fourth = claiming()
    assert fourth.stderr.readline().startswith("waiting for a GPU: other stages have claimed GPU-aaaa1111, GPU-bbbb")
    assert fourth.poll() is None
    three[1].kill()  # the lock goes with the process, however that ends
    assert claimed(fourth) == gpus[1]


def test_the_users_choice_is_respected(machine, claiming):
    first = claiming(CUDA_VISIBLE_DEVICES="2,1")
    assert claimed(first) == "2"
    assert claimed(claiming()) == UUIDS[0]  # by number or UUID, a GPU is the same
    assert claimed(claiming(CUDA_VISIBLE_DEVICES="GPU-cccc,GPU-bbbb,GPU-aaaa")) == "GPU-bbbb"


def test_a_launcher_claims_as_many_as_it_starts_or_none(machine, claiming):
    first = claiming()
    assert claimed(first) == UUIDS[0]
    three = claiming(NUMBER="3")
    assert "waiting for 3 GPUs: other stages have claimed GPU-aaaa1111 (in" in three.stderr.readline()
    two = claiming(NUMBER="2")  # the waiting one holds none
    assert claimed(two) == ",".join(UUIDS[1:])
    first.kill()
    two.kill()
    assert claimed(three) == ",".join(UUIDS)


def test_more_than_there_are_is_a_mistake(machine):
    with pytest.raises(ValueError, match="4 processes need a GPU each, but there are 3"):
        devices.claim("auto", 4)


@pytest.mark.parametrize("chosen", ["", "-1", "-1,0"])
def test_who_wants_none_gets_none(machine, monkeypatch, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    devices.claim("auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen
    assert not devices._claimed


@pytest.mark.parametrize("name", ["LOCAL_RANK", "TORCHELASTIC_RUN_ID"])
def test_torchrun_shares_out_gpus_itself(machine, monkeypatch, name):
    monkeypatch.setenv(name, "0")
    devices.claim("auto")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_the_cpu_needs_no_gpu(machine):
    devices.claim("cpu")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_process_claims_one_gpu_once(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    devices.claim("auto")
    devices.claim("auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert len(devices._claimed) == 1
    devices._claimed[0].release()


def test_without_gpus_nothing_happens(machine, monkeypatch):
    (machine / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    devices.claim("auto")
    monkeypatch.setenv("PATH", str(machine))
    devices.claim("auto")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not (machine / "cache").exists()


@pytest.mark.parametrize("stage", ["train", "evaluate", "tune"])
def test_a_stage_claims_before_anything_looks_for_cuda(stage):
    """Importing its modules does not: afterwards, CUDA_VISIBLE_DEVICES would be read no more."""
    script = f"""
import torch
def looked(*arguments):
    raise AssertionError("looked for CUDA")
torch.cuda.is_available = torch.cuda.device_count = torch._C._cuda_getDeviceCount = looked
import pipeline.{stage} as stage
from denoiselab.runtime import devices
class Claimed(Exception): pass
def claim(wanted):
    raise Claimed
devices.claim = claim
import sys
sys.argv = [sys.argv[0], "unet"][:1 + ("{stage}" != "tune")]
try:
    stage.main()
except Claimed:
    print("claimed")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "claimed", done.stderr


def test_free_bytes_of_the_cpu_are_the_machines():
    free = devices.free_bytes(torch.device("cpu"))
    assert 0 < free <= psutil.virtual_memory().total
