"""How many images and training seeds the next experiment needs, from the spreads of this one."""

from statistics import median

import numpy as np
import pandas as pd

from denoiselab.comparison import sample_size
from denoiselab.comparison.paired_tests import Difference, Pairs
from denoiselab.config import Params

DIFFERENCES = (0.05, 0.1, 0.2, 0.5)  # dB
Line = tuple[str, float, list[int | None]]  # what is counted, its spread in dB, the number for each of DIFFERENCES


def by_table(params: Params, rows: pd.DataFrame, pairs: Pairs) -> dict[tuple[str, str], list[Line]]:
    """`lines` by test set and condition."""
    level = 1 - params.evaluate.confidence
    return {
        key: found
        for key, own in pairs.items()
        if (found := lines(own, rows[(rows.set == key[0]) & (rows.condition == key[1])], level))
    }


def lines(pairs: list[Difference], here: pd.DataFrame, level: float) -> list[Line]:
    """The numbers for one test set and condition, from its pairs and rows.

    Images or groups at the median and the largest spread of the pairs' differences, for a single test; seeds of each
    network at the root mean square of the networks' spreads. Without several images or seeds, no line.
    """
    spreads = [one.deviation for one in pairs if one.deviation > 0]
    unit = "images" if all(one.groups == one.images for one in pairs) else "groups of images"
    found = []
    for name, spread in {"median": median(spreads), "largest": max(spreads)}.items() if spreads else ():
        needed = [sample_size.images(difference, spread, level=level) for difference in DIFFERENCES]
        found.append((f"{unit}, {name} spread", spread, needed))
    variances = here.groupby(["model", "seed"]).psnr.mean().groupby("model").var()
    if len(known := variances[variances > 0]):
        spread = float(np.sqrt(known.mean()))
        needed = [sample_size.seeds(difference, spread, level=level) for difference in DIFFERENCES]
        found.append(("training seeds", spread, needed))
    return found


def missing(one: Difference, level: float) -> str:
    """The images that a pair needs, for a list; empty if its spread is unknown."""
    if not one.deviation >= 0:
        return ""
    needed = one.needed(level)
    return f"{f'{needed:,}' if needed else f'over {sample_size.MOST:,}'} for {one.better} − {one.worse}"
