"""Published results (published.csv) with their sources, by test set, protocol and noise level.

Those for Kodak24 are for 24 crops of 500x500, not for the photographs of 768x512 that this project fetches.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Published:
    method: str
    set: str
    channels: int  # 1 gray, 3 colour
    sigma_255: float
    protocol: str
    psnr: float
    source: str
    note: str


def read() -> list[Published]:
    """All published values. If sources disagree, the preferred one comes first."""
    with TABLE.open(newline="", encoding="utf-8") as handle:
        return [_value(**row) for row in csv.DictReader(handle)]


def matching(set_name: str, channels: int, protocol: str, spec: dict[str, Any]) -> list[Published]:
    """The published values for a test set in gray or in colour, protocol and noise spec, one per method."""
    if spec["kind"] != "gaussian":
        return []
    found: dict[str, Published] = {}
    for value in read():
        there = value.set, value.channels, value.protocol, value.sigma_255
        if there == (set_name, channels, protocol, spec["sigma_255"]):
            found.setdefault(value.method, value)
    return list(found.values())


def _value(*, channels: str, sigma_255: str, psnr: str, **texts: str) -> Published:
    return Published(**texts, channels=int(channels), sigma_255=float(sigma_255), psnr=float(psnr))
