"""What test_distributed.py runs under torchrun: trainings one after the other, their histories and weights to a file.

    torchrun ... tests/distributed_worker.py FILE ENTRY...

from a folder with params.yaml and data/. An entry may be NAME:augmented (by albumentations), NAME:streamed (from files)
or NAME:wrong (all processes take the same share).
"""

import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import torch

from denoiselab import config
from denoiselab.runtime import distributed, paths
from denoiselab.training import batches, jobs, runner

AUGMENTED = {"kind": "albumentations", "workers": 1, "transforms": [{"name": "HorizontalFlip", "p": 0.5}]}

Trained = tuple[list[dict[str, float]], dict[str, torch.Tensor]]  # history, best weights


def trained(entry: str) -> Trained:
    """Train an entry of params.yaml from the start."""
    name, _, option = entry.partition(":")
    params, right = config.load(), distributed.share
    if option == "augmented":
        params = params.model_copy(update={"augment": config.Albumentations.model_validate(AUGMENTED)})
    if distributed.is_first():
        shutil.rmtree(paths.checkpoints(), ignore_errors=True)
    with (
        patch.object(batches, "RESIDENT_SHARE", 0 if option == "streamed" else batches.RESIDENT_SHARE),
        patch.object(distributed, "share", (lambda x: x[: len(right(x))]) if option == "wrong" else right),
    ):
        result = runner.train(jobs.resolve(params, name), lambda step, row: None)
    return result.history, next(iter(result.best.values()))["weights"]


def main(out: Path, *entries: str) -> None:
    with distributed.process_group(torch.device("cpu")):
        results = {entry: trained(entry) for entry in entries}
        if distributed.is_first():
            torch.save(results, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
