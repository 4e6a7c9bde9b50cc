"""Tables that train and evaluate wrote of a model: handed out if they are as written.

What a stage took, in reports/cost/, is a record of their sha256, too.
"""

from pathlib import Path
from typing import Any

from denoiselab.runtime import paths, sealed_json

KIND = sealed_json.Kind(range(1, 3), sealed=2)
EVALUATED = ("per_image.csv", "curve.csv", "metrics.json", "alarms.json")


def record_training(name: str, cost: dict[str, Any]) -> None:
    """To be called when the history is there."""
    KIND.write(paths.training_cost(name), cost | {"files": sealed_json.digests([paths.history(name)])})


def record_evaluation(name: str, cost: dict[str, Any]) -> None:
    """To be called when the evaluation's tables are there."""
    tables = [paths.evaluation(name) / file for file in EVALUATED]
    KIND.write(paths.inference_cost(name), cost | {"files": sealed_json.digests(tables)})


def training_cost(name: str) -> dict[str, Any]:
    """ValueError where it differs from what was written, as for all that follow."""
    return KIND.read(paths.training_cost(name), _remedy("train", name))


def inference_cost(name: str) -> dict[str, Any]:
    return KIND.read(paths.inference_cost(name), _remedy("evaluate", name))


def history(name: str) -> Path:
    """reports/train/<name>.csv."""
    return _verified(paths.history(name), paths.training_cost(name), _remedy("train", name))


def evaluated(name: str, file: str) -> Path:
    """One of EVALUATED, in reports/evaluate/<name>/."""
    return _verified(paths.evaluation(name) / file, paths.inference_cost(name), _remedy("evaluate", name))


def _verified(table: Path, record: Path, remedy: str) -> Path:
    known = KIND.read(record, remedy).get("files", {}) if record.exists() else {}
    return sealed_json.verify(table, known.get(table.name), remedy)


def _remedy(stage: str, name: str) -> str:
    return f"`dvc checkout` or `git restore reports` may bring it back, `dvc repro -f {stage}@{name}` makes it anew"
