"""The parameters behind a result, flattened, and those that differ between results."""

import json
from collections.abc import Sequence
from typing import Any

from denoiselab.models.metadata import CLASSICAL

Settings = dict[str, Any]  # dotted key: value; keys of a model's own block begin with models.<name>.


def effective(tree: dict[str, Any], model: str) -> Settings:
    """The parameters of params.yaml that affect a model's scores; `train` without the keys its entry overrides.

    Left out: those of the data, which its hash covers, and of evaluate's samples and curve.
    """
    entry = tree["models"][model]
    scored = _only(tree["evaluate"], "tile", "confidence", "resamples")
    result = _flat({"seed": tree["seed"], "protocol": tree["protocol"], "evaluate": scored})
    if entry["arch"] == "identity":
        return result
    result |= _flat({key: value for key, value in entry.items() if key != "published"}, f"models.{model}.")
    if entry.get("weights"):
        return result
    result |= _flat({"noise": tree["noise"]})
    if entry["arch"] in CLASSICAL:
        made, train = {"patches": _only(tree["patches"], "val_size")}, _only(tree["train"], "val_patches")
    else:
        made, train = {key: tree[key] for key in ("patches", "augment", "seeds")}, tree["train"]
    result |= _flat(made) | _not_overridden(train, entry)
    needed = str(entry.get("needs", "")).removeprefix("models/")
    return (effective(tree, needed) if needed in tree["models"] else {}) | result


def _not_overridden(train: dict[str, Any], entry: dict[str, Any]) -> Settings:
    """`train` without the keys that the model's entry sets, in `schedule` key by key."""
    budget = {"steps", "epochs"} if {"steps", "epochs"} & entry.keys() else set()
    own = entry.get("schedule", {})
    left = {key: value for key, value in train.items() if key not in ({*entry} - {"schedule"}) | budget}
    if "schedule" in left:
        left["schedule"] = {key: value for key, value in left["schedule"].items() if key not in own}
    return _flat({"train": left})


def _only(tree: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tree[key] for key in keys}


def _flat(tree: dict[str, Any], prefix: str = "") -> Settings:
    result: Settings = {}
    for key, value in tree.items():
        result |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def differing(rows: Sequence[tuple[str, Settings]]) -> list[Settings]:
    """For each (model, settings): the settings that differ between rows, or that a row of the same model lacks.

    A model's own keys lose their prefix. Noise settings implied by the noise's name are left out.
    """
    shown = []
    for model, settings in rows:
        same = [other for name, other in rows if name == model]
        keys = [
            key
            for key in settings
            if _varies(key, [other for _, other in rows]) or any(key not in other for other in same)
        ]
        implied = {key for key in keys if key.startswith(("noise.train.", "noise.test.")) and _implied(key, rows)}
        shown.append({_short(key, model): text(settings[key]) for key in keys if key not in implied})
    return shown


def _varies(key: str, rows: list[Settings]) -> bool:
    return len({text(row[key]) for row in rows if key in row}) > 1


def _implied(key: str, rows: Sequence[tuple[str, Settings]]) -> bool:
    """Whether the noise's name determines the value."""
    pairs = {(row["noise.name"], text(row.get(key))) for _, row in rows if "noise.name" in row}
    return len(pairs) == len({name for name, _ in pairs})


def _short(key: str, model: str) -> str:
    return key.removeprefix(f"models.{model}.").removeprefix("models.")


def text(value: Any) -> str:
    """A value as text in a table."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
