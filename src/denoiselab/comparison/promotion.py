"""Model promotion: whether a candidate is better than the champion on the same noisy test images."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from denoiselab.comparison import aggregate, paired_tests
from denoiselab.comparison.bootstrap import Interval
from denoiselab.config import Params

SAME = ["condition", "protocol_sha256", "image", "draw", "clean_sha256", "noisy_sha256"]  # identify a noisy test image
TEXTS = dict.fromkeys((*aggregate.TEXTS, "clean_sha256", "noisy_sha256"), str)


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate is better than its rival, and the reason, as the end of a sentence."""

    better: bool
    said: str


def parse(text: str) -> pd.DataFrame:
    """Read the test scores logged in a run: per_image.csv with `psnr_noisy` and the hashes of the images."""
    nan = {"psnr": ["nan"]}  # outputs that are not finite
    return pd.read_csv(io.StringIO(text), dtype=TEXTS, keep_default_na=False, na_values=nan)


def judge(candidate: pd.DataFrame, champion: pd.DataFrame | None, rival: str, params: Params) -> Verdict:
    """Whether the candidate has a higher PSNR than the champion (without one: than the noisy input).

    That is, whether the interval of the mean paired difference over images lies above 0. Each image counts once, by
    its mean over conditions and draws; outputs of the champion that are not finite are left out for both. Never better
    if the test images differ or an output of the candidate is not finite. `rival` names the champion in the verdict.
    """
    if broken := int(candidate.psnr.isna().sum()):
        return Verdict(False, f"{broken} of its {len(candidate)} outputs are not finite")
    if champion is None:
        champion = candidate.assign(psnr=candidate.psnr_noisy)
    if other := _other(candidate, champion):
        return Verdict(False, f"{rival} was tested on other images: {other}")
    lost = f"{champion.psnr.isna().sum()} of the {len(champion)} outputs of {rival} are not finite"
    whole = {*_keys(champion[champion.psnr.notna()])}
    if not whole:
        return Verdict(True, lost)
    pair = candidate.assign(model="candidate"), champion.assign(model="champion")
    rows = pd.concat([one[[key in whole for key in _keys(one)]] for one in pair], ignore_index=True)
    found = paired_tests.difference(rows, "candidate", "champion", params)
    said = f"{_signed(found.interval)} dB over {rival} on {found.images} test image{'s' if found.images > 1 else ''}"
    said += "" if found.testable(1 - params.evaluate.confidence) else ", too few for a test"
    said += f"; {lost}" if len(whole) < len(champion) else ""
    return Verdict(found.interval.low > 0, said)


def mean(rows: pd.DataFrame, params: Params) -> Interval:
    """Mean PSNR over images, in dB, with its interval."""
    table = aggregate.by_image(rows, ["psnr"])
    return aggregate.intervals(table.to_numpy().T, aggregate.groups_of(rows, table.index), params)[0]


def _other(candidate: pd.DataFrame, champion: pd.DataFrame) -> str:
    """How the noisy test images of the two differ; empty if they are the same."""
    own, others = {*_keys(candidate)}, {*_keys(champion)}
    if own == others:
        return ""
    for column, name in (("image", "images"), ("condition", "conditions"), ("protocol_sha256", "protocol")):
        here, there = (sorted({*rows[column]}) for rows in (candidate, champion))
        if here != there:
            return f"{name} {_few(here)} here, {_few(there)} there"
    return f"{len(own - others)} of {len(own)} noisy test images differ"


def _keys(rows: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """What identifies the noisy test image of each row."""
    return rows[SAME].itertuples(index=False, name=None)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _signed(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{interval.mean:+.2f} (one image gives no interval)"
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
