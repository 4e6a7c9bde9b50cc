"""Run the benchmarks one after another and write the results to a page named after this machine.

    python -m bench [--quick] [--out reports/benchmarks] [NAME ...]

Default: all benchmarks, which takes under ten minutes on two idle cores. Each runs in its own process. If one fails,
the page gives the reason and the exit code is 1. A missed target is marked but does not change the exit code.
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
}  # these take longer or write their own pages
KNOWN = [m.name for m in pkgutil.iter_modules(bench.__path__) if m.name[0] != "_" and m.name not in TOOLS]
OUT = Path("reports/benchmarks")
TIMEOUT_S = 900  # of one benchmark


@dataclass(frozen=True)
class Result:
    """Outcome of one benchmark: its output, or the reason why it failed."""

    name: str
    seconds: float
    text: str = ""
    found: dict[str, Any] | None = None
    reason: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smallest sizes, only to check that the benchmark runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"output folder (default: {OUT})")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(KNOWN))
    args = parser.parse_args(argv)
    if unknown := sorted({*args.names} - {*KNOWN}):
        parser.error(f"unknown: {', '.join(unknown)}; choose from: {', '.join(KNOWN)}")
    machine, results = _machine.describe(), []
    path = args.out / f"{_machine.name(machine)}.md"
    for name in args.names or KNOWN:
        results.append(_run(name, ["--quick"] if args.quick else []))
        print(f"{name}: {results[-1].seconds:.0f} s{f', failed: {r}' if (r := results[-1].reason) else ''}", flush=True)
        _write(path, machine, results, args.quick)  # after each one, so that an interruption loses no results
    print(path)
    return int(any(result.reason for result in results))


def page(machine: dict[str, str], results: Sequence[Result], quick: bool = False) -> str:
    """The page in Markdown: machine, all targets, and one section per benchmark."""
    rows = [{"machine": key, "": value} for key, value in machine.items()]
    minutes = sum(result.seconds for result in results) / 60
    warning = "Smallest sizes: the numbers are meaningless. " if quick else ""
    head = f"# Benchmarks on {machine['processor']}, {machine['cores']} cores, GPU: {machine['GPU']}\n"
    made = f"{warning}Made by `make bench` in {minutes:.0f} minutes.\n"
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
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Result(name, time.perf_counter() - started, reason=f"timed out after {TIMEOUT_S} s")
    seconds = time.perf_counter() - started
    if done.returncode:
        errors = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Result(name, seconds, reason=errors[-1])
    text, _, line = done.stdout.rstrip().rpartition("\n")
    try:
        return Result(name, seconds, text.strip(), json.loads(line))
    except json.JSONDecodeError:
        return Result(name, seconds, reason="the last line of its output is not JSON")


def _judged(name: str, target: dict[str, Any]) -> dict[str, Any]:
    bound = f"at {'least' if target['at_least'] else 'most'} {target['limit']:g} {target['unit']}".rstrip()
    met = "met" if target["met"] else "**missed**"
    return {"benchmark": name, "target": f"{target['what']} {bound}", "measured": target["value"], "": met}


def _section(result: Result) -> str:
    body = f"**Failed**: {result.reason}" if result.reason else result.text
    return f"## {result.name}\n\n`python -m bench.{result.name}`, {result.seconds:.0f} s.\n\n{body}\n"


if __name__ == "__main__":
    sys.exit(main())
