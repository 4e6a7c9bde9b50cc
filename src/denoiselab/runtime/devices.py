"""Which device computes, and how it is set up to give the same bytes again."""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice, takewhile
from pathlib import Path

import psutil
import torch
from filelock import FileLock, Timeout
from torch import nn

from denoiselab.runtime.errors import UserError

CLAIM_POLL_S = 1.0
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")  # torch, its libraries


_claimed: list[FileLock] = []  # held until the process ends


def claim(wanted: str, number: int = 1) -> None:
    """Take `number` free GPUs of this machine for this process and hide the others; wait where too many are taken.

    So that stages that run side by side do not share one. To be called before torch looks for CUDA. GPUs that the user
    left in CUDA_VISIBLE_DEVICES count alone. Nothing happens where `wanted` is cpu, where the process has claimed one,
    where there is no GPU, or under torchrun, for whose processes the one that started it has claimed them.
    ValueError where there are fewer.
    """
    if wanted == "cpu" or _claimed or {"LOCAL_RANK", "TORCHELASTIC_RUN_ID"} & os.environ.keys():
        return
    locks = {gpu: FileLock(_claims() / f"{name}.lock") for gpu, name in _gpus().items()}
    if 0 < len(locks) < number:
        raise UserError(f"{number} processes need a GPU each, but there are {len(locks)}")
    told = False
    while locks:
        taken = list(islice((gpu for gpu, lock in locks.items() if _acquired(lock)), number))
        if len(taken) == number:
            _claimed.extend(locks[gpu] for gpu in taken)
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
            return
        for gpu in taken:  # who waits holds none, or two would wait for each other
            locks[gpu].release()
        if not told:
            wanted = "a GPU" if number == 1 else f"{number} GPUs"
            others = ", ".join(gpu for gpu in locks if gpu not in taken)
            print(f"waiting for {wanted}: other stages have claimed {others} (in {_claims()})", file=sys.stderr)
            told = True
        time.sleep(CLAIM_POLL_S)


def _acquired(lock: FileLock) -> bool:
    with suppress(Timeout):
        lock.acquire(blocking=False)
        return True
    return False


def _claims() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "denoiselab" / "gpus"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _gpus() -> dict[str, str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them: {name there: UUID, else the same}."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    uuids = [line.strip() for line in subprocess.run(query, capture_output=True, text=True).stdout.splitlines()]
    uuids = [uuid for uuid in uuids if uuid.startswith("GPU-")]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not uuids or chosen is None:
        return {uuid: uuid for uuid in uuids}
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # numbers then mean what nvidia-smi shows
    names = [name.strip() for name in chosen.split(",")]
    return {name: _uuid(name, uuids) for name in takewhile(lambda name: name not in ("", "-1"), names)}


def _uuid(name: str, uuids: list[str]) -> str:
    """Of a GPU that is named by its number or the beginning of its UUID; another name, of a part of a GPU, stays."""
    if name.isdigit():
        return uuids[int(name)] if int(name) < len(uuids) else name
    return next((uuid for uuid in uuids if uuid.startswith(name)), name.replace("/", "-"))


def choose(wanted: str, where: str = "train.device") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    ValueError where CUDA is asked for, `where` the message says, and missing.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{where}: cuda is asked for, but torch sees no CUDA device; allowed here: auto, cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def prepare(device: torch.device) -> None:
    """On CUDA: deterministic algorithms only, no TF32. What is used here on the CPU is deterministic as it is."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # else kernels are chosen by the clock
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had: of the GPU on CUDA, else of the machine without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def ran_out(error: BaseException) -> bool:
    """Whether an error says that the device or the machine has no memory left."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or (isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY))


def release(device: torch.device) -> None:
    """Give memory back that torch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def enough_memory(device: torch.device, advice: str) -> Iterator[None]:
    """ValueError with `advice` where memory runs out inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise UserError(f"{describe(device)}: out of memory; {advice}") from None


def compiled(model: nn.Module) -> nn.Module:
    """`model` through torch.compile for inputs of one shape; `model` itself stays what it was and shares its weights.

    ValueError where there is no C++ compiler, which torch.compile needs.
    """
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if not shutil.which(compiler):
        raise UserError(
            f"train.compile: true needs a C++ compiler, but there is no {compiler}; install it or say false"
        )
    torch._dynamo.reset()  # else a search's trials after the eighth would not be compiled
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"
