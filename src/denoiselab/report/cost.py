"""Quality against cost: the Pareto front of every table, and its figure."""

from typing import Any

import pandas as pd

from denoiselab.comparison import pareto
from denoiselab.config import Params
from denoiselab.report.figures import cost as cost_figure
from denoiselab.runtime import paths


def fronts(
    params: Params, table: pd.DataFrame, cost: list[dict[str, Any]], score: str = "psnr"
) -> list[dict[str, Any]]:
    """Draw cost.png and return the models by set and condition, fastest first, with `front`: whether no other model is
    both faster and better. The noisy input is left out unless it is the only model."""
    rows = _rows(params, table, cost, score)
    cost_figure.tradeoffs(rows, paths.COST_FIGURE, score)
    result = []
    for (set_name, condition), own in rows.groupby(["set", "condition"], sort=False):
        own = own.assign(front=pareto.front(list(own.ms), list(own[score]))).sort_values("ms")
        result.append({"set": set_name, "condition": condition, "rows": own.to_dict("records")})
    return result


def _rows(params: Params, table: pd.DataFrame, cost: list[dict[str, Any]], score: str) -> pd.DataFrame:
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
    rows = rows.assign(**{key: [measured[model][key] for model in rows.model] for key in ("ms", "macs")})
    others = rows[[params.models[model].arch != "identity" for model in rows.model]]
    return others if len(others) else rows
