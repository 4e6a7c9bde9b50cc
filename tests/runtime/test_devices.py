"""GPU reservation: parallel stages use different GPUs. Real processes with simulated GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from denoiselab.runtime import devices
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT

UUIDS = ["GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333"]
CLAIM = """
import os, sys
from denoiselab.runtime import devices
devices.claim("auto", int(os.environ.get("NUMBER", 1)))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the simulated nvidia-smi is a shell script")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine with three free GPUs."""
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
        variables = os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen([sys.executable, "-c", CLAIM], env=variables, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("amx", "avx512", "expected"),
    [(True, False, "bfloat16"), (False, True, "bfloat16"), (True, True, "bfloat16"), (False, False, "float32")],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_in_it(monkeypatch, amx, avx512, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    cpu = torch.device("cpu")
    assert devices.precision("auto", cpu) == expected
    assert devices.precision("float32", cpu) == "float32"
    assert devices.precision("bfloat16", cpu) == "bfloat16"


@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_cuda_asks_for_real_support(monkeypatch, supported):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported
    )
    assert devices.precision("auto", torch.device("cuda")) == ("bfloat16" if supported else "float32")


def claimed(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


def test_parallel_processes_get_one_gpu_each_and_a_fourth_waits(machine, claiming):
    three = [claiming() for _ in UUIDS]
    gpus = [claimed(process) for process in three]
    assert sorted(gpus) == UUIDS
    fourth = claiming()
    assert fourth.stderr.readline().startswith("waiting for a GPU: other stages use GPU-aaaa1111, GPU-bbbb")
    assert fourth.poll() is None
    three[1].kill()  # the lock is released when the process ends in any way
    assert claimed(fourth) == gpus[1]


def test_cuda_visible_devices_is_respected(machine, claiming):
    first = claiming(CUDA_VISIBLE_DEVICES="2,1")
    assert claimed(first) == "2"
    assert claimed(claiming()) == UUIDS[0]  # a GPU is the same by number or UUID
    assert claimed(claiming(CUDA_VISIBLE_DEVICES="GPU-cccc,GPU-bbbb,GPU-aaaa")) == "GPU-bbbb"


def test_a_launcher_claims_all_its_gpus_at_once(machine, claiming):
    first = claiming()
    assert claimed(first) == UUIDS[0]
    three = claiming(NUMBER="3")
    assert "waiting for 3 GPUs: other stages use GPU-aaaa1111 (locks in" in three.stderr.readline()
    two = claiming(NUMBER="2")  # the waiting process holds none
    assert claimed(two) == ",".join(UUIDS[1:])
    first.kill()
    two.kill()
    assert claimed(three) == ",".join(UUIDS)


def test_more_processes_than_gpus_are_refused(machine):
    with pytest.raises(UserError, match="4 processes need 4 GPUs, but only 3 can be used"):
        devices.claim("auto", 4)


@pytest.mark.parametrize("chosen", ["", "-1", "-1,0"])
def test_hidden_gpus_are_not_claimed(machine, monkeypatch, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    devices.claim("auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen
    assert not devices._claimed


@pytest.mark.parametrize("name", ["LOCAL_RANK", "TORCHELASTIC_RUN_ID"])
def test_workers_of_torchrun_claim_no_gpu(machine, monkeypatch, name):
    monkeypatch.setenv(name, "0")
    devices.claim("auto")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_no_gpu_is_claimed_for_the_cpu(machine):
    devices.claim("cpu")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_process_claims_only_once(machine, monkeypatch):
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
def test_stages_claim_before_cuda_is_initialised(stage):
    """Importing its modules must not initialise CUDA, which reads CUDA_VISIBLE_DEVICES only once."""
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


def test_free_memory_of_the_cpu_is_the_machines():
    free = devices.free_bytes(torch.device("cpu"))
    assert 0 < free <= psutil.virtual_memory().total
