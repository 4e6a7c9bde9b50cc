"""The parameters that made a result, flat, and those in which results differ."""

import json
from collections.abc import Sequence
from typing import Any

Settings = dict[str, Any]  # dotted key: value; keys of a model's own block begin with models.<name>.


def effective(tree: dict[str, Any], model: str) -> Settings:
    """The parameters of params.yaml that act on a model's scores; `train` less what its block overrides.

    Left out are those of the data, whose hash counts, and of evaluate's pictures and curve.
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
    if entry["arch"] == "classical":
        made, train = {"patches": _only(tree["patches"], "val_size")}, _only(tree["train"], "val_patches")
    else:
        made, train = {key: tree[key] for key in ("patches", "augment", "seeds")}, tree["train"]
    result |= _flat(made) | _not_overridden(train, entry)
    needed = str(entry.get("needs", "")).removeprefix("models/")
    return (effective(tree, needed) if needed in tree["models"] else {}) | result


def _not_overridden(train: dict[str, Any], entry: dict[str, Any]) -> Settings:
    """`train` without the keys that a model sets for itself; of its schedule single keys."""
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
    """Of (model, settings) each, the keys in which rows differ: in value, or a row of the same model lacks them.

    A model's own keys lose their prefix. What the noise's name already tells is not said again.
    """
    shown = []
    for model, settings in rows:
        same = [other for name, other in rows if name == model]
        keys = [
            key
            for key in settings
            if _varies(key, [other for _, other in rows]) or any(key not in other for other in same)
        ]
        told = {key for key in keys if key.startswith(("noise.train.", "noise.test.")) and _told(key, rows)}
        shown.append({_short(key, model): text(settings[key]) for key in keys if key not in told})
    return shown


def _varies(key: str, rows: list[Settings]) -> bool:
    return len({text(row[key]) for row in rows if key in row}) > 1


def _told(key: str, rows: Sequence[tuple[str, Settings]]) -> bool:
    """Whether noises of one name have one value."""
    pairs = {(row["noise.name"], text(row.get(key))) for _, row in rows if "noise.name" in row}
    return len(pairs) == len({name for name, _ in pairs})


def _short(key: str, model: str) -> str:
    return key.removeprefix(f"models.{model}.").removeprefix("models.")


def text(value: Any) -> str:
    """A value in a cell."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
