"""Quality against cost: the Pareto front of every table, and its figures."""

import shutil
from typing import Any

import pandas as pd

from denoiselab.comparison import pareto
from denoiselab.config import Params
from denoiselab.report.figures import cost as cost_figures
from denoiselab.report.rendering import address
from denoiselab.report.title import Titles
from denoiselab.runtime import files, paths

TABLE = "tradeoffs.csv"


def fronts(
    params: Params, table: pd.DataFrame, cost: list[dict[str, Any]], titles: Titles, score: str = "psnr"
) -> list[dict[str, Any]]:
    """Write reports/tradeoffs/: the table, and the figures, see `figures`.

    Returns the models by set and condition (`title`), fastest first, with `front`: whether no other model is both
    faster and better. The noisy input is left out unless it is the only model.
    """
    rows = _rows(params, table, cost, titles, score)
    shutil.rmtree(paths.TRADEOFFS, ignore_errors=True)
    parts = [
        own.assign(front=pareto.front(list(own.ms), list(own[score]))).sort_values("ms")
        for _, own in rows.groupby(["set", "condition"], sort=False)
    ]
    written = pd.concat(parts).drop(columns=["protocol_sha256", "place"])
    written = written.rename(columns={"ms": "ms_per_megapixel", "macs": "gmac_per_megapixel", score: f"{score}_mean"})
    files.write_text(paths.TRADEOFFS / TABLE, written.to_csv(index=False, lineterminator="\n"))
    return [{"title": own.place.iloc[0], "rows": own.to_dict("records")} for own in parts]


def figures(
    params: Params, table: pd.DataFrame, cost: list[dict[str, Any]], titles: Titles, score: str = "psnr"
) -> list[dict[str, str]]:
    """Draw the score against time, MAC and parameters; returns `title` and `path`, relative to the report."""
    drawn = cost_figures.tradeoffs(_rows(params, table, cost, titles, score), paths.TRADEOFFS, score)
    return [one | {"path": address(paths.TRADEOFFS / one["path"])} for one in drawn]


def _rows(params: Params, table: pd.DataFrame, cost: list[dict[str, Any]], titles: Titles, score: str) -> pd.DataFrame:
    measured = {
        row["model"]: {
            "ms": row["infer"]["ms_per_megapixel"],
            "macs": (row["infer"]["macs_per_megapixel"] or 0) / 1e9,
        }
        for row in cost
    }
    rows = table[["set", "protocol", "protocol_sha256", "condition", "model", "parameters"]].assign(
        **{score: table[f"{score}_mean"]}
    )
    rows = rows.assign(place=[titles.of(*key) for key in zip(rows.set, rows.condition, strict=True)])
    rows = rows.assign(**{key: [measured[model][key] for model in rows.model] for key in ("ms", "macs")})
    others = rows[[params.models[model].arch != "identity" for model in rows.model]]
    return others if len(others) else rows
