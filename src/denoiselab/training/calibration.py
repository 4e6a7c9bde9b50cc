"""Calibrate the strength of a classical method on the validation patches, at each noise level.

With the blind-spot score (validation.BlindSpotValidation) this is Batson, Royer: Noise2Self, ICML 2019.
"""

import math
from collections.abc import Callable
from typing import Any

from denoiselab.training.validation import Validation

REFINEMENTS = 2  # rounds of trials halfway between the best strength and its neighbours


def calibrate(model: Any, validate: Validation) -> list[dict[str, float]]:
    """Set the best strength of `model`, an architectures.classical.Classical, at every noise level of `validate`.

    Maximises the first score of `validate`. Returns one row per trial: level, strength, scores.
    """
    rows: list[dict[str, float]] = []
    chosen: dict[float, float] = {}
    for level in validate.levels:

        def score(strength: float, level: float = level) -> float:
            model.set_strengths({level: strength})
            scores = validate(model, only=level)
            named = {f"val_{name}": value for name, value in scores.items()}
            rows.append({"step": len(rows), "sigma_255": level, "strength": strength, **named})
            value = next(iter(scores.values()))
            return value if math.isfinite(value) else -math.inf

        chosen[level] = _search(score, model.candidates)
    model.set_strengths(chosen)
    return rows


def _search(score: Callable[[float], float], candidates: list[float]) -> float:
    """The best of the candidates and of the refinements between the best one and its neighbours."""
    tried = {strength: score(strength) for strength in candidates}
    for _ in range(REFINEMENTS):
        order = sorted(tried)
        at = order.index(max(tried, key=tried.__getitem__))
        for neighbour in order[max(0, at - 1) : at] + order[at + 1 : at + 2]:
            middle = (order[at] + neighbour) / 2
            tried[middle] = score(middle)
    return max(tried, key=tried.__getitem__)
