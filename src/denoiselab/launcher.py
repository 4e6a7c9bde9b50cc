"""`train.launcher`: a stage starts itself again as several processes, by torchrun."""

import argparse
import os
import shlex
import sys
from typing import NoReturn

import torch
from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError


def launch(launcher: str | None, module: str, *arguments: str) -> None:
    """Run `python -m module arguments...` under torchrun and exit when it ends, with its exit code.

    Returns where there is no launcher, and in the processes that torchrun has started. ValueError where its arguments
    are wrong or the other machines do not answer.
    """
    if launcher is None or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    options = _options(launcher, module, arguments)
    try:
        local = run.determine_local_world_size(options.nproc_per_node)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // local)))
        run.run(options)
    except ChildFailedError as error:
        sys.exit(max(1, error.get_first_failure()[1].exitcode))  # a signal's is negative
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except (ValueError, RendezvousError) as error:
        raise _refusal(launcher, str(error)) from None
    sys.exit()


def started_as() -> int:
    """The rank that torchrun gave this process; 0 without it."""
    return int(os.environ.get("RANK", "0"))


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
    return ValueError(f"train.launcher: {launcher!r}: {' '.join(message.split())}")
