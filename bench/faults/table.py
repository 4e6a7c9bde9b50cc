"""The page of a campaign: counts by fault and stage, failures, messages and skipped trials."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench import _show
from bench.faults._trial import Row

SUMMED = ("count", "recovered", "wrong", "lost", "leftovers")
HEADS = {"count": "faults", "wrong": "wrong results", "lost": "lost runs"}
EXPLAINED = """\
A fault counts as recovered if the next `make repro` gives the bytes of an undisturbed run or, if the fault persists, if
one line names it. Wrong results: outputs that differ, and damaged input used without an error. Lost runs: missing,
incomplete or left RUNNING in MLflow. Leftovers: temporary files that remain, and partly written files accepted as
complete. Outputs with measured times (`reports/cost*` and the figures and pages made from it) are compared without the
times. DVC does not write its `dvc.lock` and `.dvc/tmp/rwlock` atomically: a kill at that moment truncates them, and
`make repro` repairs them (`python -m pipeline.repair`)."""


def good(row: Row) -> bool:
    """Whether every fault was recovered and nothing was wrong, lost or left over."""
    return row.recovered == row.count and not (row.wrong or row.lost or row.leftovers)


def page(machine: Mapping[str, str], seed: int, rows: Mapping[str, Sequence[Row]]) -> str:
    """The page in Markdown, from the rows of each family."""
    every = [row for family in rows.values() for row in family]
    done = [row for row in every if row.count]
    facts = [{"machine": key, "": value} for key, value in machine.items()] + [{"machine": "seed", "": str(seed)}]
    sections = [f"## {family}\n\n{_counts(of)}\n" for family, of in rows.items() if any(row.count for row in of)]
    return "\n".join(
        [
            "# Faults\n",
            f"Made by `python -m bench.faults --seed {seed}`. {_verdict(done)}\n",
            EXPLAINED + "\n",
            _show.table(facts) + "\n",
            *sections,
            *_listed("Failures", [row for row in done if not good(row)]),
            *_listed("Messages", _with_messages(done)),
            *_listed("Skipped", [row for row in every if not row.count]),
        ]
    )


def _verdict(rows: Sequence[Row]) -> str:
    total = _sum(rows)
    counted = ", ".join(f"{total[key]} {HEADS.get(key, key)}" for key in SUMMED)
    return f"In total: {counted}."


def _counts(rows: Sequence[Row]) -> str:
    """A table with a line for each fault and stage, in the order of their first rows."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.count:
            groups.setdefault((row.fault, row.stage), []).append(row)
    return _show.table(
        [
            {"fault": fault, "stage": stage} | {HEADS.get(key, key): number for key, number in _sum(of).items()}
            for (fault, stage), of in groups.items()
        ]
    )


def _sum(rows: Sequence[Row]) -> dict[str, int]:
    values: list[dict[str, Any]] = [asdict(row) for row in rows]
    return {key: sum(value[key] for value in values) for key in SUMMED}


def _with_messages(rows: Sequence[Row]) -> list[Row]:
    """The first good row with a message of each fault and stage."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.message and good(row):
            found.setdefault((row.fault, row.stage), row)
    return list(found.values())


def _listed(title: str, rows: Sequence[Row]) -> list[str]:
    lines = "\n".join(f"- {row.fault}, {row.stage}: {row.message or 'no message'}" for row in rows)
    return [f"## {title}\n\n{lines}\n"] if rows else []
