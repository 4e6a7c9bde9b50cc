"""What test_distributed.py runs under torchrun: trainings one after the other, their histories and weights to a file.

    torchrun ... tests/distributed_worker.py FILE ENTRY...

from a folder with params.yaml and data/. An entry `NAME:wrong` is trained with the same share in all processes.
"""

import shutil
import sys
from pathlib import Path

import torch

from denoiselab import config, distributed, experiment, paths, planning


def trained(entry: str) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    name, _, wrong = entry.partition(":")
    right = distributed.share
    if wrong:
        distributed.share = lambda whole: whole[: len(right(whole))]
    result = experiment.train(planning.plan(config.load(), name), lambda step, row: None)
    distributed.share = right
    if distributed.first():
        shutil.rmtree(paths.checkpoints())
    return result.history, next(iter(result.best.values()))["weights"]


def main(out: Path, *entries: str) -> None:
    with distributed.joined(torch.device("cpu")):
        results = {entry: trained(entry) for entry in entries}
        if distributed.first():
            torch.save(results, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
