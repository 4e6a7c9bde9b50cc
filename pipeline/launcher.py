"""`train.launcher`: a stage starts itself again as several processes, by torchrun."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError

from denoiselab.config import Params, Train
from denoiselab.models import device_choice
from denoiselab.runtime import devices, distributed
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line


@contextmanager
def processes(params: Params, name: str, module: str, *, several: bool) -> Iterator[None]:
    """Within it this process is one of those that `train.launcher` starts, each as `python -m module name`.

    They alone come in: the process that starts them exits with them. Where it is no work for `several`, one comes in.
    Each has claimed what the entry `name` of params.models computes on.
    """
    if several:
        launch(params.training(name), module, name)
    elif int(os.environ.get("RANK", "0")):
        sys.exit()
    devices.claim(device_choice.wanted(params, name))
    with distributed.joined(device_choice.device(params, name) if several else None):
        yield


def launch(settings: Train, module: str, *arguments: str) -> None:
    """Run `python -m module arguments...` under torchrun and exit when it ends, with its exit code.

    Returns where there is no launcher, and in the processes that torchrun has started. ValueError where its arguments
    are wrong or the other machines do not answer.
    """
    launcher = settings.launcher
    if launcher is None or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    options = _options(launcher, module, arguments)
    try:
        local = run.determine_local_world_size(options.nproc_per_node)
        devices.claim(settings.device, local)
        _divide_cores(local)
        run.run(options)
    except ChildFailedError as error:
        sys.exit(max(1, error.get_first_failure()[1].exitcode))  # a signal's is negative
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except (ValueError, RendezvousError) as error:
        raise _refusal(launcher, str(error)) from None
    sys.exit()


def _divide_cores(processes: int) -> None:
    """Of this machine, among its processes: for torch and for joblib."""
    from joblib import cpu_count

    cores = {"OMP_NUM_THREADS": torch.get_num_threads(), "LOKY_MAX_CPU_COUNT": cpu_count()}
    for name, number in cores.items():
        os.environ.setdefault(name, str(max(1, number // processes)))


def _options(launcher: str, module: str, arguments: tuple[str, ...]) -> argparse.Namespace:
    """torchrun's arguments as it reads them itself."""

    def refuse(message: str) -> NoReturn:
        raise _refusal(launcher, message)

    parser = run.get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_args([*shlex.split(launcher)[1:], "-m", module, *arguments])
    if options.training_script != module:
        refuse(f"there is no such argument: {options.training_script}")
    return options


def _refusal(launcher: str, message: str) -> ValueError:
    return UserError(f"train.launcher: {launcher!r}: {one_line(message, 500)}")
