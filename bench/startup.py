"""Start-up time of each stage: from process start until its main function runs.

    python -m bench.startup [--rounds 4]

tests/system/test_startup.py lists the packages that each stage may import.
"""

import re
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench._project import Process, python, scratch
from bench._show import Target, show, sizes

COMPARED = """\
Every stage in an empty folder, from process start until it fails to find params.yaml: interpreter, imports and, for
train and evaluate, the re-execution with allocator settings. Median of {rounds} starts without the first; `CPU s` is
hardly affected by other load. `imports`: packages that take 0.1 s or more to import (under `-X importtime`, which slows
them down); `later`: packages that the stage imports only when it needs them."""
LIMITS_S = {"fetch": 1.0, "patchify": 1.0, "add_noise": 4.0, "train": 4.0, "evaluate": 4.0, "compare": 1.0}
LATER = {
    "train": ["mlflow"],  # in a thread, during training
    "evaluate": ["skimage.metrics._structural_similarity", "mlflow"],
    "compare": ["scipy.stats", "matplotlib.pyplot"],
}
LEAST_US = 1e5
TIMED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\w+)")  # microseconds, excluding nested imports


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, rounds=(4, 1))
    with scratch():
        rows = [_measured(stage, args.rounds) for stage in LIMITS_S]
    targets = [Target(f"start of {row['stage']}", row["s"], LIMITS_S[row["stage"]], "s") for row in rows]
    show("startup", COMPARED.format(rounds=args.rounds), rows, targets)


def _measured(stage: str, rounds: int) -> dict[str, Any]:
    found = [_started("-m", f"pipeline.{stage}", "none") for _ in range(rounds)]
    found = found[1:] or found
    return {
        "stage": stage,
        "s": median(process.seconds for process in found),
        "CPU s": median(process.cpu_s for process in found),
        "imports": _imports(stage),
        "later": _later(stage, LATER[stage]) if stage in LATER else None,
    }


def _imports(stage: str) -> str:
    """The slowest packages, with their seconds."""
    spent: Counter[str] = Counter()
    for self_us, package in TIMED.findall(_started("-X", "importtime", "-m", f"pipeline.{stage}", "none").output):
        spent[package] += int(self_us)
    return ", ".join(f"{package} {us / 1e6:.1f}" for package, us in spent.most_common() if us >= LEAST_US)


def _later(stage: str, modules: list[str]) -> str:
    """The packages of `modules`, with the seconds that each takes to import, in order, after the stage has started."""
    code = "from timeit import timeit\nprint(timeit('import {}', number=1))\n"
    done = python("-c", f"import pipeline.{stage}\n" + "".join(code.format(module) for module in modules))
    seconds = map(float, done.output.split())
    return ", ".join(f"{name.partition('.')[0]} {s:.1f}" for name, s in zip(modules, seconds, strict=True))


def _started(*args: str) -> Process:
    """Run a stage until it fails for lack of params.yaml."""
    done = python(*args, rc=1)
    if "params.yaml" not in done.output:
        raise RuntimeError(done.output)
    return done


if __name__ == "__main__":
    main()
