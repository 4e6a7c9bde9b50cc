"""The report's alarms: those raised by evaluate, and those about too few test images."""

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

import pandas as pd

from denoiselab.comparison.bootstrap import smallest_p
from denoiselab.comparison.paired_tests import Difference, Pairs
from denoiselab.comparison.sample_size import POWER
from denoiselab.config import Evaluate, Params
from denoiselab.evaluation.output_checks import HEADLINES, Alarm
from denoiselab.report import planning
from denoiselab.runtime import files, stage_outputs

LISTED = 5  # undecided pairs
MEANINGS = {  # of the warnings
    "some": "The model is no use on these images, although it is on the others.",
    "tone": "The model changes more than noise: compare its outputs with the noisy images.",
    "level": "A network is of little use at noise levels on which it was not trained.",
    "correlated": "The models here remove noise that is independent from pixel to pixel.",
    "interval": "Other images of the same kind may give quite another mean; the order of the models is more certain, "
    "because all models restore the same images.",
    "few": "With so few images, a difference may be chance.",
}
SCORE_NAMES = {"psnr": "PSNR", "held_out": "score of held-out pixels"}
ModelAlarm = tuple[str, Alarm]  # model ("": all), alarm


def of_outputs(params: Params) -> list[ModelAlarm]:
    """The alarms that evaluate raised."""
    stored = {name: files.read_json(stage_outputs.evaluated(name, "alarms.json")) for name in params.models}
    return [(name, Alarm(**alarm)) for name, found in stored.items() for alarm in found]


def of_table(table: pd.DataFrame, pairs: Pairs, settings: Evaluate, score: str = "psnr") -> list[ModelAlarm]:
    """Alarms about wide intervals in comparison.csv, and about too few images (or groups) to test the pairs, or to
    find their differences significant."""
    found: list[ModelAlarm] = []
    limit, level = settings.alarms.max_halfwidth_db, 1 - settings.confidence
    for (set_name, condition), rows in table.groupby(["set", "condition"], sort=False):
        place, images, n = f"{set_name}, {condition}", int(rows.n_images.iloc[0]), int(rows.n_groups.iloc[0])
        unit = "images" if n == images else "groups of images"
        tests = max(len(pairs[set_name, condition]), 1)
        undecided = [one for one in pairs[set_name, condition] if not one.significant(level)]
        both = max((one.groups for one in pairs[set_name, condition]), default=n)  # with scores of two models
        if smallest_p(both, tests) >= level:
            needed = next(k for k in count(both) if smallest_p(k, tests) < level)
            test = f"{tests} tests need" if tests > 1 else "a test needs"
            text = f"{test} at least {needed} {unit} to be significant at {100 * level:g} %; there are {both}"
            found.append(("", Alarm("few", place, images, images, "", text + _planned(undecided, level))))
        elif undecided:
            which = f"{len(undecided)} of {tests} differences are" if tests > 1 else "the difference is"
            text = f"{which} not significant with {both} {unit}"
            found.append(("", Alarm("few", place, images, images, "", text + _planned(undecided, level))))
        halves = ((rows[f"{score}_high"] - rows[f"{score}_low"]) / 2).set_axis(rows.model)
        wide = halves[halves > limit]
        if len(wide):
            widest = float(wide.max())
            text = (
                f"mean {SCORE_NAMES[score]} uncertain by up to ±{widest:.2f} dB ({wide.idxmax()}); the target is "
                f"±{limit:g} dB, which needs about {math.ceil(n * (widest / limit) ** 2)} {unit}; there are {n}"
            )
            found += [(str(model), Alarm("interval", place, images, images, "", text)) for model in wide.index]
    return found


def _planned(undecided: list[Difference], level: float) -> str:
    """The images that undecided pairs need; the pairs of the best models come first."""
    needed = [text for one in undecided if (text := planning.missing(one, level))]
    if not needed:
        return ""
    more = ", others in pairs.csv (n_needed)" if len(needed) > LISTED else ""
    return f"; if as large as measured, a power of {100 * POWER:g} % takes {', '.join(needed[:LISTED])}{more}"


def lines(found: list[ModelAlarm], places: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """One line per kind and condition, all models together: `sign` (Alarm or Warning), `headline`, `place`, `text`, and
    for warnings `meaning`. `places`: titles of the conditions and tables."""
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for model, alarm in sorted(found, key=lambda item: list(HEADLINES).index(item[1].kind)):
        groups.setdefault((alarm.kind, alarm.condition), {}).setdefault(alarm.text, []).append(model)
    result = []
    for (kind, condition), texts in groups.items():
        sign, _, headline = HEADLINES[kind].partition(": ")
        parts = [f"{', '.join(filter(None, models))}: {text}".removeprefix(": ") for text, models in texts.items()]
        about = {"sign": sign, "headline": headline, "meaning": MEANINGS.get(kind, "")}
        result.append(about | {"place": (places or {}).get(condition, condition), "text": "; ".join(parts)})
    return result
