"""The speed-run on a machine without DVC, MLflow or network: prepare a folder here, copy it there, and run it.

    python -m bench.alone prepare FOLDER [--toy]    # here: write the tasks' parameters and their data set archives
    python -m bench.alone run FOLDER [--tasks gray] [--seeds 3] [--out OUT] [--sitting SECONDS] [--toy]    # there

`run` needs the project's files, torch, NumPy, SciPy, scikit-image, OpenCV, pydantic, PyYAML, filelock, psutil,
requests, joblib and tqdm. With --sitting it stops at the first validation after SECONDS with exit code 3; the same
command resumes it. Time between sittings does not count towards the result; recompiling does.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import speedrun
from denoiselab import config
from denoiselab.runtime import files, paths

UNFINISHED = 3  # exit code


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "run"])
    parser.add_argument("folder", type=Path)
    speedrun.add_options(parser)
    parser.add_argument("--sitting", type=float, default=float("inf"), help="stop after so many seconds, to be resumed")
    args = parser.parse_args(argv)
    if args.what == "prepare":
        prepare(args.folder, args.tasks, args.toy)
        return 0
    return run(args.folder, args.tasks, args.seeds, args.out, args.sitting, args.toy)


def prepare(folder: Path, tasks: list[str], toy: bool) -> None:
    """Write each task's parameters and the archives of its data set, in the layout of DENOISELAB_MIRROR."""
    from bench._project import compose

    for name in tasks:
        tree = compose(*(speedrun.TOYS if toy else speedrun.TASKS)[name].overrides)
        files.write_json(folder / f"{name}.json", tree)
        for dataset, archive in _archives(tree["data"]).items():
            _carry(folder / "mirror" / dataset, dataset, archive)


def run(folder: Path, tasks: list[str], seeds: int, out: Path, sitting_s: float, toy: bool) -> int:
    """Train and test. Returns 0, or UNFINISHED if the time of the sitting ran out."""
    os.environ["DENOISELAB_MIRROR"] = str((folder / "mirror").resolve())
    for name in tasks:
        params = config.load(folder / f"{name}.json")  # JSON is YAML
        task = (speedrun.TOYS if toy else speedrun.TASKS)[name]
        for seed in range(seeds):
            if any((one["task"], one["seed"]) == (name, seed) for one in speedrun.recorded(out)):
                continue
            found = speedrun.run(name, task, params, folder / "work", seed, sitting_s)
            if found is None:
                return UNFINISHED
            speedrun.record(out, found, toy)
    return 0


def _archives(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The archives in the block `data` of the parameters, by data set."""
    return {key: value for key, value in data.items() if isinstance(value, dict) and "url" in value}


def _carry(target: Path, dataset: str, archive: dict[str, Any]) -> None:
    from denoiselab.runtime.download import obtain

    address = archive["url"]
    where = {"folder": paths.downloads(), "root": paths.shared_root()}
    found = obtain(dataset, address, sha256=archive["sha256"], **where)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, target / address.rsplit("/", 1)[-1])


if __name__ == "__main__":
    sys.exit(main())
