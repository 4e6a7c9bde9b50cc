"""How long each stage takes to start: from the start of its process until its main has what it imports.

    python -m bench.startup [--rounds 5]

A stage must not pay for what it does not use; tests/test_startup.py says which packages each may import.
"""

import re
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench._project import Process, python, scratch
from bench._show import Target, show, sizes

COMPARED = """\
Every stage in an empty folder, from the start of its process to its look for params.yaml, which is not there: the
interpreter, what the stage imports, and the start anew with the allocator's settings of train and evaluate. Median
of {rounds} starts, the first left out; `CPU s` is what they take on a busy machine, too. `imports` are the packages
that took most (0.1 s or more, under `-X importtime`, which slows them), `later` those that a stage imports when it
comes to them."""
LIMITS_S = {"fetch": 1.0, "patchify": 1.0, "add_noise": 4.0, "train": 4.0, "evaluate": 4.0, "compare": 1.0}
LATER = {
    "train": ["mlflow"],  # on a thread of its own, while it trains
    "evaluate": ["skimage.metrics._structural_similarity", "mlflow"],
    "compare": ["scipy.stats", "matplotlib.pyplot"],
}
LEAST_US = 1e5
TIMED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\w+)")  # microseconds without those of what it imports


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, rounds=(5, 1))
    with scratch():
        rows = [_measured(stage, args.rounds) for stage in LIMITS_S]
    targets = [Target(f"start of {row['stage']}", row["s"], LIMITS_S[row["stage"]], "s") for row in rows]
    show("startup", COMPARED.format(rounds=args.rounds), rows, targets)


def _measured(stage: str, rounds: int) -> dict[str, Any]:
    found = [_started("-m", f"pipeline.{stage}", "none") for _ in range(rounds + 1)][1:]
    return {
        "stage": stage,
        "s": median(process.seconds for process in found),
        "CPU s": median(process.cpu_s for process in found),
        "imports": _imports(stage),
        "later": ", ".join(_later(stage, module) for module in LATER.get(stage, [])) or None,
    }


def _imports(stage: str) -> str:
    """The packages that took most, with their seconds."""
    spent: Counter[str] = Counter()
    for self_us, package in TIMED.findall(_started("-X", "importtime", "-m", f"pipeline.{stage}", "none").output):
        spent[package] += int(self_us)
    return ", ".join(f"{package} {us / 1e6:.1f}" for package, us in spent.most_common() if us >= LEAST_US)


def _later(stage: str, module: str) -> str:
    """A module's package with the seconds that it takes once the stage has started."""
    code = f"import pipeline.{stage}, time; s = time.perf_counter(); import {module}; print(time.perf_counter() - s)"
    return f"{module.partition('.')[0]} {float(python('-c', code).output):.1f}"


def _started(*args: str) -> Process:
    """A stage that finds no params.yaml."""
    done = python(*args, rc=1)
    if "params.yaml" not in done.output:
        raise RuntimeError(done.output)
    return done


if __name__ == "__main__":
    main()
