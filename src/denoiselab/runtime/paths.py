"""Paths of all outputs of the stages; a test keeps dvc.yaml in step.

Relative to the working directory, as queued experiments run in a copy of the project. Files shared by experiments
(checkpoints, the MLflow store) are under `shared_root()`.
"""

import os
from pathlib import Path

QUALITIES = ("fast", "best")  # sizes of a family of released weights: colour_fast and colour_best of the family colour
RAW = Path("data/raw")
PATCHES = Path("data/patches")
NOISY = Path("data/noisy")
COMPARISON = Path("reports/comparison.csv")
COMPARISON_TEX = Path("reports/comparison.tex")
REFERENCES = Path("reports/references.bib")
PAIRS = Path("reports/pairs.csv")
REPORT_MD = Path("reports/report.md")
REPORT_HTML = Path("reports/report.html")
REPORT_COST = Path("reports/cost.md")
TRADEOFFS = Path("reports/tradeoffs")
FIGURES = Path("reports/figures")
PHOTOS = Path("reports/photos")
SUMMARY = Path("reports/summary.json")
VECTOR_FIGURES = Path("reports/vector")  # not of a stage: written on request
EVALUATION = "evaluate-"  # folders of checkpoints() that are not of a training begin with it
LEADERBOARD = Path("reports/leaderboard")  # not of a stage: compares experiments


def model(name: str) -> Path:
    """Weights and resolved settings of a trained model."""
    return Path("models") / name


def trained(name: str, number: int) -> Path:
    """Weights and settings of the training run with seed number `number`; 0: the model's own folder."""
    return model(name) / "seeds" / str(number) if number else model(name)


def trainings(name: str) -> list[Path]:
    """Folders of the training runs of all seeds, in order."""
    seeds = [path for path in (model(name) / "seeds").glob("*") if path.name.isdecimal()]
    return [model(name), *sorted(seeds, key=lambda path: int(path.name))]


def history(name: str) -> Path:
    """Training history: one row for each validation (or calibration trial) and seed."""
    return Path("reports/train") / f"{name}.csv"


def progress(name: str) -> Path:
    """Restored validation patches during training."""
    return Path("reports/progress") / name


def training_cost(name: str) -> Path:
    """Measured training time, in a file of its own as it varies between runs."""
    return Path("reports/cost/train") / f"{name}.json"


def evaluation(name: str) -> Path:
    """Metrics of a model on the test images, in total and per image."""
    return Path("reports/evaluate") / name


def samples(name: str) -> Path:
    """Sample restored test images."""
    return Path("reports/samples") / name


def inference_cost(name: str) -> Path:
    """Measured inference time and memory, in a file of their own as they vary between runs."""
    return Path("reports/cost/evaluate") / f"{name}.json"


def released(name: str) -> Path:
    """Released weights, their settings and model card."""
    return Path("models/released") / name


def sizes(family: str) -> dict[str, str]:
    """{quality: name} of the released weights of a family."""
    return {quality: f"{family}_{quality}" for quality in QUALITIES}


def released_block(name: str) -> Path:
    """Configuration (conf/model/) that imports released weights."""
    return Path("conf/model/released") / f"{name}.yaml"


def tuned(name: str) -> Path:
    """Configuration (conf/model/) with the best hyper-parameters of a model's search."""
    return Path("conf/model") / f"{name}_tuned.yaml"


def tuning() -> Path:
    """Reports of the hyper-parameter searches."""
    return Path("reports/tune")


def shared_root() -> Path:
    """The main working tree, also from a queued experiment's copy (DVC sets DVC_ROOT)."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def checkpoints() -> Path:
    """Training checkpoints, one folder for each configuration."""
    return shared_root() / ".ckpt"


def downloads() -> Path:
    """Downloaded archives and weights, shared by all experiments."""
    return shared_root() / ".downloads"
