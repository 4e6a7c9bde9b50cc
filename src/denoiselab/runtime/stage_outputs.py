"""Tables written by train and evaluate, verified by SHA-256 before they are read.

The hashes are stored with the stage's measured cost, in reports/cost/.
"""

from pathlib import Path
from typing import Any

from denoiselab.runtime import paths, sealed_json
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

KIND = sealed_json.Kind(range(1, 3), sealed=2)
EVALUATED = ("per_image.csv", "curve.csv", "metrics.json", "alarms.json")


def record_training(name: str, cost: dict[str, Any]) -> None:
    """Store the cost of training, with the hash of the history, which must exist."""
    KIND.write(paths.training_cost(name), cost | {"files": sealed_json.digests([paths.history(name)])})


def record_evaluation(name: str, cost: dict[str, Any]) -> None:
    """Store the cost of evaluation, with the hashes of its tables, which must exist."""
    tables = [paths.evaluation(name) / file for file in EVALUATED]
    KIND.write(paths.inference_cost(name), cost | {"files": sealed_json.digests(tables)})


def training_cost(name: str) -> dict[str, Any]:
    """Stored cost of training. UserError, as in all functions below, if a file is missing, damaged or changed."""
    return KIND.read(paths.training_cost(name), _remedy("train", name))


def inference_cost(name: str) -> dict[str, Any]:
    return KIND.read(paths.inference_cost(name), _remedy("evaluate", name))


def history(name: str) -> Path:
    """reports/train/<name>.csv."""
    return _verified(paths.history(name), paths.training_cost(name), _remedy("train", name))


def evaluated(name: str, file: str) -> Path:
    """One of EVALUATED, in reports/evaluate/<name>/."""
    return _verified(paths.evaluation(name) / file, paths.inference_cost(name), _remedy("evaluate", name))


def read_table(path: Path, **options: Any) -> Any:
    """A CSV file as pandas.DataFrame. UserError if it is missing or damaged."""
    import pandas as pd

    try:
        return pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None


def _verified(table: Path, record: Path, remedy: str) -> Path:
    hashes = KIND.read(record, remedy).get("files", {}) if record.exists() else {}
    return sealed_json.verify(table, hashes.get(table.name), remedy)


def _remedy(stage: str, name: str) -> str:
    return f"restore it with `dvc checkout` or `git restore reports`, or make it again: `dvc repro -f {stage}@{name}`"
