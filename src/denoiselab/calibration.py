"""Calibrate a classical method's strength on the validation patches, at each noise level."""

from typing import Any

from denoiselab.validation import Validation

REFINEMENTS = 2  # rounds of trials halfway to the best strength's neighbours


def calibrate(model: Any, validate: Validation) -> list[dict[str, float]]:
    """Set the strength with the best PSNR at every level; returns a row a trial (level, strength, scores).

    `model` is a denoiselab.models.classical.Classical.
    """
    rows: list[dict[str, float]] = []
    chosen: dict[float, float] = {}
    for number, level in enumerate(validate.levels):
        assert level is not None, "a condition without a level"
        tried: dict[float, float] = {}

        def trial(
            strength: float, number: int = number, level: float = level, tried: dict[float, float] = tried
        ) -> None:
            model.set_strengths({level: strength})
            scores = validate(model, only=number)
            tried[strength] = scores["psnr"]
            rows.append(
                {
                    "step": len(rows),
                    "sigma_255": level,
                    "strength": strength,
                    **{f"val_{k}": v for k, v in scores.items()},
                }
            )

        for strength in model.candidates:
            trial(strength)
        for _ in range(REFINEMENTS):
            best = max(tried, key=tried.__getitem__)
            order = sorted(tried)
            at = order.index(best)
            for neighbour in order[max(0, at - 1) : at] + order[at + 1 : at + 2]:
                trial((best + neighbour) / 2)
        chosen[level] = max(tried, key=tried.__getitem__)
    model.set_strengths(chosen)
    return rows
