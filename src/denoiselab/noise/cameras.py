"""Sensor noise of real cameras, from the public table of noise profiles of the darktable project.

For each camera, ISO and channel (red, green, blue): variance = a x + b of the linear signal x, black 0, white 1. Most
profiles have a larger a in red and blue, by the gains of a white balance, so x is the white-balanced signal; the raw
signal of all channels has the a of green.

The table comes from a repository under the GPL. It is fetched, verified and read where it lies, and no part of this
project.
"""

import difflib
import json
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from denoiselab.runtime import paths
from denoiselab.runtime.download import obtain
from denoiselab.runtime.errors import UserError

URL = (
    "https://raw.githubusercontent.com/aurelienpierreeng/ansel-denoise/3ad875f1ac74707ea0c522c4ddc7bc922fd5116b/data/"
    "noiseprofiles.json"
)
SHA256 = "1837e435cfef8acff0e54d24f00826cd7145f726935557ae3c429e8b09a77907"
LIMIT = 2**24  # bytes
MAX_SHOWN = 3  # names in a message


class Camera(NamedTuple):
    """A camera's noise."""

    name: str
    iso: np.ndarray  # (K,), increasing
    a: np.ndarray  # (K, 3), red, green, blue
    b: np.ndarray  # (K, 3), negative where the fit was


def named(name: str) -> Camera:
    """The camera of that name, with or without its maker, in any case. UserError naming similar ones if unknown."""
    wanted, known = name.casefold().strip(), table()
    if wanted in known:
        return known[wanted]
    similar = [full for full in known if full.partition(" ")[2] == wanted]
    if len(similar) == 1:
        return known[similar[0]]
    similar = similar or [full for full in known if wanted in full]
    similar = similar or difflib.get_close_matches(wanted, known, MAX_SHOWN, 0.5)
    shown = ", ".join(known[full].name for full in similar[:MAX_SHOWN])
    like = f"; similar: {shown}" if shown else ""
    raise UserError(f"camera {name!r} is not among the {len(known)} of the table{like}; `denoiselab noise --cameras`")


def check(camera: Camera, low: float, high: float) -> None:
    """UserError if ISO `low` or `high` is beyond those of the camera's profiles."""
    if low < camera.iso[0] or high > camera.iso[-1]:
        raise UserError(f"{camera.name} has ISO {camera.iso[0]:g} to {camera.iso[-1]:g} in the table of cameras")


@cache
def table() -> dict[str, Camera]:
    """All cameras by "maker model" in lower case. UserError if the file cannot be obtained.

    Where the fit of red or blue failed (a is not positive), the values are those of green.
    """
    file = obtain(
        "camera_profiles", URL, sha256=SHA256, folder=paths.downloads(), root=paths.shared_root(), limit=LIMIT
    )
    makers = json.loads(file.read_text(encoding="utf-8"))["noiseprofiles"]
    cameras = [
        _camera(f"{maker['maker']} {one['model']}", one["profiles"]) for maker in makers for one in maker["models"]
    ]
    return {camera.name.casefold(): camera for camera in cameras}


def _camera(name: str, profiles: list[dict[str, Any]]) -> Camera:
    usable = [row for row in profiles if row["a"][1] > 0]
    by_iso = {row["iso"]: row for row in sorted(usable, key=lambda row: not row.get("skip"))}  # unmarked last: kept
    rows = [by_iso[iso] for iso in sorted(by_iso)]
    iso, a, b = (np.array([row[key] for row in rows], np.float64) for key in ("iso", "a", "b"))
    fitted = a > 0
    return Camera(name, iso, *(np.where(fitted, values, values[:, 1:2]) for values in (a, b)))
