"""Device selection (CPU or CUDA), exclusive use of GPUs, deterministic settings, memory checks."""

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
from typing import Literal

import psutil
import torch
from filelock import FileLock, Timeout
from torch import nn

from denoiselab.runtime.errors import UserError

CLAIM_POLL_S = 1.0
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")  # in error messages


_claimed: list[FileLock] = []  # held until this process ends


def claim(wanted: str, number: int = 1) -> None:
    """Reserve `number` GPUs for this process and hide the others (CUDA_VISIBLE_DEVICES); wait until enough are free.

    Keeps parallel stages on different GPUs. Call it before torch initialises CUDA. Only the GPUs in the user's
    CUDA_VISIBLE_DEVICES are considered. Does nothing if `wanted` is cpu, the process has GPUs already, the machine has
    none, or under torchrun, whose launcher has reserved them. UserError if the machine has fewer than `number`.
    """
    if wanted == "cpu" or _claimed or {"LOCAL_RANK", "TORCHELASTIC_RUN_ID"} & os.environ.keys():
        return
    locks = {gpu: FileLock(_lock_folder() / f"{name}.lock") for gpu, name in _gpus().items()}
    if 0 < len(locks) < number:
        raise UserError(f"train.launcher: {number} processes need {number} GPUs, but only {len(locks)} can be used")
    announced = False
    while locks:
        taken = list(islice((gpu for gpu, lock in locks.items() if _acquired(lock)), number))
        if len(taken) == number:
            _claimed.extend(locks[gpu] for gpu in taken)
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
            return
        for gpu in taken:  # hold none while waiting: two waiting processes would deadlock
            locks[gpu].release()
        if not announced:
            gpus = "a GPU" if number == 1 else f"{number} GPUs"
            others = ", ".join(gpu for gpu in locks if gpu not in taken)
            print(f"waiting for {gpus}: other stages use {others} (locks in {_lock_folder()})", file=sys.stderr)
            announced = True
        time.sleep(CLAIM_POLL_S)


def _acquired(lock: FileLock) -> bool:
    with suppress(Timeout):
        lock.acquire(blocking=False)
        return True
    return False


def _lock_folder() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "denoiselab" / "gpus"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _gpus() -> dict[str, str]:
    """Usable GPUs: {name in CUDA_VISIBLE_DEVICES: UUID, or the name itself if it is not a whole GPU}."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    uuids = [line.strip() for line in subprocess.run(query, capture_output=True, text=True).stdout.splitlines()]
    uuids = [uuid for uuid in uuids if uuid.startswith("GPU-")]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not uuids or chosen is None:
        return {uuid: uuid for uuid in uuids}
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the numbering of nvidia-smi
    names = [name.strip() for name in chosen.split(",")]
    return {name: _uuid(name, uuids) for name in takewhile(lambda name: name not in ("", "-1"), names)}


def _uuid(name: str, uuids: list[str]) -> str:
    """UUID of the GPU with this number or UUID prefix; other names (MIG instances) are returned unchanged."""
    if name.isdigit():
        return uuids[int(name)] if int(name) < len(uuids) else name
    return next((uuid for uuid in uuids if uuid.startswith(name)), name.replace("/", "-"))


def choose(wanted: str, where: str = "train.device") -> torch.device:
    """auto: CUDA if available, else the CPU. UserError, beginning with `where`, if cuda is not available."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{where}: cuda was requested, but torch finds no CUDA device; use auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def precision(wanted: str, device: torch.device) -> Literal["float32", "bfloat16"]:
    """auto: bfloat16 if the device multiplies in it (CPU: AMX or AVX512-BF16; CUDA: since Ampere), else float32."""
    if wanted == "float32" or (wanted == "auto" and not _has_bfloat16(device)):
        return "float32"
    return "bfloat16"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which convolutions and matrix products compute in `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def prepare(device: torch.device) -> None:
    """On CUDA: deterministic algorithms only, no TF32. The CPU operations used here are deterministic anyway."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # otherwise kernels are selected by timing
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False


def free_bytes(device: torch.device) -> int:
    """Free memory: of the GPU on CUDA, else of the machine (without swapping)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine ran out of memory."""
    typed = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return typed or (isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY))


def release(device: torch.device) -> None:
    """Release the memory in torch's CUDA cache."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def enough_memory(device: torch.device, advice: str) -> Iterator[None]:
    """UserError with `advice` if memory runs out inside the block."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{describe(device)}: out of memory; {advice}") from None


def compiled(model: nn.Module) -> nn.Module:
    """`model` through torch.compile for fixed input shapes; `model` itself is unchanged and shares its weights.

    UserError without the C++ compiler that torch.compile needs.
    """
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if not shutil.which(compiler):
        raise UserError(f"train.compile: needs a C++ compiler; install {compiler}, or set false")
    torch._dynamo.reset()  # otherwise torch stops compiling after eight models (trials of a search)
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def describe(device: torch.device) -> str:
    """Name of the GPU, or processor architecture and number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"
