"""`train.launcher`: run a stage as several processes under torchrun."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
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
    """Run the block in each process that `train.launcher` starts (`python -m module name`).

    The launching process exits with them and does not enter the block. Without `several`, only one process enters it.
    Each process has claimed the devices of the entry `name` of params.models.
    """
    if several:
        launch(params.training(name), module, name)
    elif int(os.environ.get("RANK", "0")):
        sys.exit()
    devices.claim(device_choice.wanted(params, name))
    with distributed.process_group(device_choice.device(params, name) if several else None):
        yield


def launch(settings: Train, module: str, *arguments: str) -> None:
    """Run `python -m module arguments...` under torchrun and exit with its exit code.

    Returns if no launcher is set, and in the processes started by torchrun. UserError if torchrun's arguments are
    wrong or the other machines do not answer.
    """
    launcher = settings.launcher
    if launcher is None or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    options = _options(launcher, module, arguments)
    try:
        local = run.determine_local_world_size(options.nproc_per_node)
        devices.claim(settings.device, local)
        _divide_cores(local)
        with TemporaryDirectory() as folder:
            options.log_dir = options.log_dir or folder  # torchrun would leave one behind
            run.run(options)
    except ChildFailedError as error:
        sys.exit(max(1, error.get_first_failure()[1].exitcode))  # negative if killed by a signal
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except UserError:
        raise
    except (ValueError, RendezvousError) as error:
        raise _refusal(launcher, str(error)) from None
    sys.exit()


def _divide_cores(processes: int) -> None:
    """Divide this machine's cores among its processes, for torch and for joblib."""
    from joblib import cpu_count

    cores = {"OMP_NUM_THREADS": torch.get_num_threads(), "LOKY_MAX_CPU_COUNT": cpu_count()}
    for name, number in cores.items():
        os.environ.setdefault(name, str(max(1, number // processes)))


def _options(launcher: str, module: str, arguments: tuple[str, ...]) -> argparse.Namespace:
    """Parse train.launcher with torchrun's own parser. UserError if it is invalid."""

    def refuse(message: str) -> NoReturn:
        raise _refusal(launcher, message)

    parser = run.get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_args([*shlex.split(launcher)[1:], "-m", module, *arguments])
    if options.training_script != module:
        refuse(f"unknown argument: {options.training_script}")
    return options


def _refusal(launcher: str, message: str) -> UserError:
    return UserError(f"train.launcher: {launcher!r}: {one_line(message, 500)}")
