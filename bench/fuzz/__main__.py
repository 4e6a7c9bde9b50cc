"""Coverage-guided fuzzing of all code that reads untrusted files and text, with atheris (libFuzzer).

    python -m bench.fuzz [--inputs 1000000] [--minutes M] [--out .fuzz] [--seed 0] [TARGET ...]

An interrupted run resumes with the same command. Each finding is a folder <out>/<target>/findings/<hash> with the input
and the error. Inputs that ended the process (crash in C code, more than a minute, out of memory) are
<out>/<target>/hard-*. <out>/<target>/inputs.json holds the number of inputs so far. The exit code is 1 if there are
findings.

Needs `pip install atheris` (Linux, Python 3.11 or later). tests/system/test_fuzz.py tests the same targets.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bench._project import environment
from bench._show import table
from denoiselab.runtime import files

# Percentage of the inputs per target: readers that are new or written here first, fewer for slow ones
# (four command lines a second, but a thousand weights files).
SHARES = {
    "weights": 18,
    "stack": 14,
    "containers": 14,
    "image": 11,
    "photo": 11,
    "archive": 8,
    "exif": 6,
    "manifest": 4,
    "tables": 4,
    "params": 3,
    "model": 3,
    "upload": 2.5,
    "words": 1,
    "arguments": 0.5,
}
OUT = Path(".fuzz")
RESTARTS = 20  # of a target whose process was ended


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    if not find_spec("atheris"):
        sys.exit("error: bench.fuzz needs atheris: pip install atheris (Linux, Python 3.11 or later)")
    names = args.targets or [*SHARES]
    whole = sum(SHARES[name] for name in names)
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    for n, name in enumerate(names):
        to_come = sum(SHARES[later] for later in names[n:])
        left = max(0.0, end - time.monotonic()) * SHARES[name] / to_come if args.minutes else None
        _fuzz(name, args.out / name, max(1, round(args.inputs * SHARES[name] / whole)), args.seed, left)
    rows = [_row(name, args.out / name) for name in names]
    print(f"{table(rows)}\n\n{sum(row['inputs'] for row in rows):,} inputs; findings are in {args.out}")
    return int(any(row["findings"] or row["hard"] for row in rows))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="number of inputs of all targets together (default: 1000000)"
    )
    parser.add_argument("--minutes", type=float, help="time limit")
    parser.add_argument("--out", type=Path, default=OUT, help=f"output folder (default: {OUT})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations (default: 0)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(SHARES))
    args = parser.parse_args(argv)
    if unknown := {*args.targets} - {*SHARES}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from: {', '.join(SHARES)}")
    return args


def _fuzz(name: str, folder: Path, runs: int, seed: int, seconds: float | None) -> None:
    """Try `runs` inputs; if the process is ended by one, start it again with another seed."""
    end = None if seconds is None else time.monotonic() + seconds
    for attempt in range(RESTARTS):
        if (done := _inputs(folder)) >= runs:
            break
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bench.fuzz._worker", name, str(folder), str(runs), str(seed + attempt + 1)]
        with (folder / "log.txt").open("wb") as log:
            try:
                left = None if end is None else max(0.1, end - time.monotonic())
                code = subprocess.run(command, env=environment(), stdout=log, stderr=log, timeout=left).returncode
            except subprocess.TimeoutExpired:
                break
        if code and not _hard(folder) and _inputs(folder) == done:
            sys.exit(f"error: {name} cannot be started: see {folder / 'log.txt'}")
    print(f"{name}: {_inputs(folder):,} of {runs:,} inputs", flush=True)


def _row(name: str, folder: Path) -> dict[str, str | int]:
    findings = len([*(folder / "findings").glob("*")])
    return {"target": name, "inputs": _inputs(folder), "findings": findings, "hard": len(_hard(folder))}


def _inputs(folder: Path) -> int:
    path = folder / "inputs.json"
    return int(files.read_json(path)["inputs"]) if path.exists() else 0


def _hard(folder: Path) -> list[Path]:
    return [*folder.glob("hard-*")]


if __name__ == "__main__":
    sys.exit(main())
