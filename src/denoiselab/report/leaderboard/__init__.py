"""The leaderboard: results of all DVC experiments, comparable ones in one table, as CSV and as a page."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from denoiselab.metrics import protocols
from denoiselab.noise.describe import in_words
from denoiselab.report.leaderboard import ranking, sources
from denoiselab.report.leaderboard.ranking import Group
from denoiselab.report.rendering import page, render
from denoiselab.runtime import files, paths

CSV_COLUMNS = [
    *("data", "data_md5", "set", "condition", "spec", "protocol", "protocol_sha256"),
    *("rank", "model", "experiments", *ranking.COLUMNS, "params"),
]


def write() -> Path:
    """Write leaderboard.csv, .md and .html from the repository in the working directory; returns the Markdown page."""
    experiments, unfinished = sources.gather()
    groups = ranking.groups(experiments)
    table = pd.DataFrame([record for group in groups for record in _records(group)], columns=CSV_COLUMNS)
    files.write_text(paths.LEADERBOARD / "leaderboard.csv", table.to_csv(index=False, lineterminator="\n"))
    context = {
        "groups": [{"title": title, "group": group} for title, group in zip(_titles(groups), groups, strict=True)],
        "noise": lambda group: in_words(json.loads(group.where.spec), protocols.depth(group.where.protocol)),
        "experiments": experiments,
        "unfinished": unfinished,
    }
    text = render("leaderboard.md.j2", context)
    files.write_text(paths.LEADERBOARD / "leaderboard.html", page(text))
    files.write_text(paths.LEADERBOARD / "leaderboard.md", text)
    return paths.LEADERBOARD / "leaderboard.md"


def _records(group: Group) -> list[dict[str, Any]]:
    """Rows of leaderboard.csv."""
    return [
        vars(group.where)
        | {"rank": rank, "model": row.model, "experiments": " ".join(row.experiments)}
        | row.scores
        | {"params": "; ".join(f"{key} {value}" for key, value in row.differing.items())}
        for rank, row in enumerate(group.rows, 1)
    ]


def _titles(groups: list[Group]) -> list[str]:
    """Test set, condition and protocol; groups that share these are numbered."""
    short = [f"{g.where.set}, {g.where.condition}, {g.where.protocol}" for g in groups]
    counts = Counter(short)
    return [
        title if counts[title] == 1 else f"{title} ({short[:n].count(title) + 1} of {counts[title]}, not comparable)"
        for n, title in enumerate(short)
    ]
