"""Run the benchmarks, one after another, and write what they found as a page of this machine.

    python -m bench [--quick] [--out reports/benchmarks] [NAME ...]

Without names all of them, in under ten minutes on two cores that do nothing else. Each is a process of its own; one
that fails is shown as failed with the reason, and the exit code is 1. A target that is missed is shown as missed.
"""

import argparse
import json
import pkgutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
from bench import _machine
from bench._project import environment
from bench._show import table
from denoiselab.runtime import files

TOOLS = {
    "alone",
    "faults",
    "fuzz",
    "load",
    "recipes",
    "scaling",
    "speedrun",
    "strengths",
}  # longer, with pages of their own
KNOWN = [m.name for m in pkgutil.iter_modules(bench.__path__) if m.name[0] != "_" and m.name not in TOOLS]
OUT = Path("reports/benchmarks")
PATIENCE_S = 900  # for one benchmark


@dataclass(frozen=True)
class Result:
    """What became of a benchmark: what it printed, or why it failed."""

    name: str
    seconds: float
    text: str = ""
    found: dict[str, Any] | None = None
    reason: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smallest sizes: the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the page; {OUT}")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(KNOWN))
    args = parser.parse_args(argv)
    if unknown := sorted({*args.names} - {*KNOWN}):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(KNOWN)}")
    machine, results = _machine.describe(), []
    path = args.out / f"{_machine.name(machine)}.md"
    for name in args.names or KNOWN:
        results.append(_run(name, ["--quick"] if args.quick else []))
        print(f"{name}: {results[-1].seconds:.0f} s{f', failed: {r}' if (r := results[-1].reason) else ''}", flush=True)
        _write(path, machine, results, args.quick)  # what is there stays if a later one is interrupted
    print(path)
    return int(any(result.reason for result in results))


def page(machine: dict[str, str], results: Sequence[Result], quick: bool = False) -> str:
    """The page, in markdown: the machine, all targets, and a section for each benchmark."""
    rows = [{"machine": key, "": value} for key, value in machine.items()]
    minutes = sum(result.seconds for result in results) / 60
    said = "Smallest sizes: the numbers mean nothing. " if quick else ""
    head = f"# Benchmarks on {machine['processor']}, {machine['cores']} cores, GPU: {machine['GPU']}\n"
    made = f"{said}Made by `make bench` in {minutes:.0f} minutes.\n"
    judged = [_judged(result.name, target) for result in results for target in (result.found or {}).get("targets", [])]
    targets = ["## Targets\n", table(judged) + "\n"] if judged else []
    return "\n".join([head, made, table(rows) + "\n", *targets, *map(_section, results)])


def _write(path: Path, machine: dict[str, str], results: Sequence[Result], quick: bool) -> None:
    files.write_text(path, page(machine, results, quick))
    lines = [machine, *(r.found or {"bench": r.name, "failed": r.reason} for r in results)]
    files.write_text(path.with_suffix(".jsonl"), "".join(f"{json.dumps(line)}\n" for line in lines))


def _run(name: str, options: list[str]) -> Result:
    command, started = [sys.executable, "-m", f"bench.{name}", *options], time.perf_counter()
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return Result(name, time.perf_counter() - started, reason=f"not done after {PATIENCE_S} s")
    seconds = time.perf_counter() - started
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Result(name, seconds, reason=said[-1])
    text, _, line = done.stdout.rstrip().rpartition("\n")
    try:
        return Result(name, seconds, text.strip(), json.loads(line))
    except json.JSONDecodeError:
        return Result(name, seconds, reason="its last line is not JSON")


def _judged(name: str, target: dict[str, Any]) -> dict[str, Any]:
    bound = f"at {'least' if target['at_least'] else 'most'} {target['limit']:g} {target['unit']}".rstrip()
    met = "met" if target["met"] else "**missed**"
    return {"benchmark": name, "target": f"{target['what']} {bound}", "measured": target["value"], "": met}


def _section(result: Result) -> str:
    body = f"**Failed**: {result.reason}" if result.reason else result.text
    return f"## {result.name}\n\n`python -m bench.{result.name}`, {result.seconds:.0f} s.\n\n{body}\n"


if __name__ == "__main__":
    sys.exit(main())
