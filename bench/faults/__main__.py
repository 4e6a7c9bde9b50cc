"""Fault injection campaign: kills, full disks, locked or failing stores, damaged files; checks that nothing is lost.

    python -m bench.faults [--seed 0] [--kills 200] [--short] [--only FAMILY ...] [--out reports/benchmarks/faults.md]
    python -m bench.faults --render          # only rewrite the page from the recorded trials

Every trial appends a line to the .jsonl file next to the page. An interrupted campaign resumes where it stopped, and
other families can be added later. The exit code is 1 if anything was lost or a trial could not be run.
"""

import argparse
import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bench.faults
from bench import _machine
from bench.faults import table
from bench.faults._trial import Row, Settings, Trial
from denoiselab.runtime import files

FAMILIES = [m.name for m in pkgutil.iter_modules(bench.faults.__path__) if m.name[0] != "_" and m.name != "table"]
OUT = Path("reports/benchmarks/faults.md")
KILLS, FEW = 200, 3
MESSAGE = 300  # characters of a message that are recorded


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    record = args.out.with_suffix(".jsonl")
    found, failed = _recorded(record, args.seed), []
    if not args.render:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(args.seed, args.kills or (FEW if args.short else KILLS), args.short, Path(folder))
            for family in sorted(args.only or FAMILIES):  # damage first, as kills delete the checkpoint
                module = importlib.import_module(f"bench.faults.{family}")
                for trial in module.trials(settings):
                    if (family, trial.name) in found:
                        continue
                    try:
                        found[family, trial.name] = _tried(record, family, trial, settings)
                    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:  # not recorded
                        failed.append(trial.name)
                        print(f"{family} {trial.name}: could not run: {error}", file=sys.stderr, flush=True)
    return _write(args.out, found, args.seed) or int(bool(failed))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the times and places of the faults (default: 0)")
    parser.add_argument("--kills", type=int, help=f"number of kills (default: {KILLS}; with --short: {FEW})")
    parser.add_argument("--short", action="store_true", help="a few trials of each family; takes about four minutes")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--render", action="store_true", help="only rewrite the page from the recorded trials")
    parser.add_argument("--out", type=Path, default=OUT, help=f"the page (default: {OUT})")
    return parser.parse_args(argv)


def _tried(record: Path, family: str, trial: Trial, settings: Settings) -> dict[str, Any]:
    """Run a trial and append its line to the record."""
    started = time.perf_counter()
    row = trial.run()
    row = replace(row, message=row.message.replace(str(settings.folder), "")[:MESSAGE])
    seconds = time.perf_counter() - started
    failure = "" if table.good(row) else f" {row}"
    print(f"{family} {trial.name}: {seconds:.0f} s{failure}", flush=True)
    line = {"family": family, "trial": trial.name, "seed": settings.seed, **asdict(row), "seconds": round(seconds, 1)}
    line["machine"] = _machine.describe()
    record.parent.mkdir(parents=True, exist_ok=True)
    complete = not record.exists() or record.read_bytes()[-1:] in (b"", b"\n")  # the last line may be truncated
    with record.open("a", encoding="utf-8") as handle:
        handle.write(f"{'' if complete else chr(10)}{json.dumps(line)}\n")
    return line


def _recorded(record: Path, seed: int) -> dict[tuple[str, str], dict[str, Any]]:
    """The recorded lines of `seed` by family and trial; a truncated line is skipped."""
    found = {}
    for text in record.read_text(encoding="utf-8").splitlines() if record.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line["seed"] == seed:
            found[line["family"], line["trial"]] = line
    return found


def _write(path: Path, found: dict[tuple[str, str], dict[str, Any]], seed: int) -> int:
    """Write the page. Returns 1 if any row is not good."""
    fields = Row.__dataclass_fields__
    rows: dict[str, list[Row]] = {}
    for (family, _), line in found.items():
        rows.setdefault(family, []).append(Row(**{key: line[key] for key in fields}))
    machines = [line["machine"] for line in found.values()] or [_machine.describe()]
    commits = dict.fromkeys(machine["commit"] for machine in machines)  # in the order of their first rows
    files.write_text(path, table.page(machines[-1] | {"commit": ", ".join(commits)}, seed, rows))
    print(path)
    return int(not all(table.good(row) for of in rows.values() for row in of))


if __name__ == "__main__":
    sys.exit(main())
