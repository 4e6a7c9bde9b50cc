"""Command line and output format shared by the benchmarks: sizes, Markdown table, targets and JSON line."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """Target of a benchmark: `value` must be at most `limit`, or at least if `at_least`."""

    what: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        bound = f"at {'least' if self.at_least else 'most'} {self.limit:g}"
        values = f"{bound} {self.unit}".rstrip() + f", measured {_cell(self.value)}"
        return f"- Target {'met' if self.met else '**missed**'}: {self.what} {values}"


def sizes(doc: str | None, argv: Sequence[str] | None, **known: tuple[Any, Any]) -> argparse.Namespace:
    """Parse the options of a benchmark; `known` maps each to its default and its `--quick` value.

    Values are integers, or lists of integers or of strings.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smallest sizes, only to check that the benchmark runs")
    for name, (usual, quick) in known.items():
        kind, many = (type(usual[0]), "+") if isinstance(usual, list) else (type(usual), None)
        parser.add_argument(
            f"--{name}", type=kind, nargs=many, help=f"default: {_words(usual)}; with --quick: {_words(quick)}"
        )
    args = parser.parse_args(argv)
    for name, (usual, quick) in known.items():
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else usual)
    return args


def show(
    bench: str, compared: str, rows: Sequence[dict[str, Any]], targets: Sequence[Target] = (), **facts: Any
) -> None:
    """Print what was compared, the rows (with the same keys) as a table, the targets and, last, one JSON line."""
    print(f"{compared}\n\n{table(rows)}\n")
    if targets:
        print("\n".join(map(str, targets)), end="\n\n")
    judged = [asdict(target) | {"met": target.met} for target in targets]
    found = {"bench": bench, "compared": compared, "rows": list(rows), "targets": judged} | facts
    print(json.dumps(found, allow_nan=False), flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of rows that all have the same keys; columns of numbers are right-aligned."""
    right = [all(isinstance(row[key], int | float | None) for row in rows) for key in rows[0]]
    head = f"| {' | '.join(rows[0])} |\n|{'|'.join('--:' if numbers else ':--' for numbers in right)}|"
    return "\n".join([head, *(f"| {' | '.join(map(_cell, row.values()))} |" for row in rows)])


def _cell(value: Any) -> str:
    """A value as text: floats with three significant digits, integers with thousands separators."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else "–" if value is None else str(value)


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
