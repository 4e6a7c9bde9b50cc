"""The page of a campaign: counts by fault and stage, and what was not tried."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench import _show
from bench.faults._trial import Row

SUMMED = ("count", "recovered", "wrong", "lost", "leftovers")
HEADS = {"count": "faults", "wrong": "wrong results", "lost": "lost runs"}
EXPLAINED = """\
A fault counts as recovered where the next `dvc repro` ended with the bytes of an undisturbed run, or, where the fault
lasts, where one line named it. Wrong results are outputs with other bytes and damage used without a word; lost runs are
missing, incomplete or still RUNNING in MLflow; leftovers are temporary files left and half-written ones taken for
whole. Outputs that hold measured times (`reports/cost*`, and figures and pages made from them) are compared without
the times. DVC writes its own `dvc.lock` and `.dvc/tmp/rwlock` in place: killed in that moment it leaves them cut short,
which `denoiselab doctor` tells and docs/troubleshooting.md mends."""


def good(row: Row) -> bool:
    """Whether nothing was lost."""
    return row.recovered == row.count and not (row.wrong or row.lost or row.leftovers)


def page(machine: Mapping[str, str], seed: int, rows: Mapping[str, Sequence[Row]]) -> str:
    """In markdown, from the rows of each family."""
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
            *_listed("What went wrong", [row for row in done if not good(row)]),
            *_listed("What was said", _told(done)),
            *_listed("Not tried here", [row for row in every if not row.count]),
        ]
    )


def _verdict(rows: Sequence[Row]) -> str:
    total = _sum(rows)
    counted = ", ".join(f"{total[key]} {HEADS.get(key, key)}" for key in SUMMED)
    return f"Over all of it: {counted}."


def _counts(rows: Sequence[Row]) -> str:
    """A line for each fault and stage, in the order of their first rows."""
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


def _told(rows: Sequence[Row]) -> list[Row]:
    """The first of each fault and stage that said something."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.message and good(row):
            found.setdefault((row.fault, row.stage), row)
    return list(found.values())


def _listed(title: str, rows: Sequence[Row]) -> list[str]:
    lines = "\n".join(f"- {row.fault}, {row.stage}: {row.message or 'nothing was said'}" for row in rows)
    return [f"## {title}\n\n{lines}\n"] if rows else []
