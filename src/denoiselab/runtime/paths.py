"""Every path that a stage writes. dvc.yaml repeats them; a test compares.

Paths are relative to the working directory, because a queued experiment runs in a copy of the
project. What experiments share (checkpoints, the MLflow store) lies under `shared_root()`.
"""

import os
from pathlib import Path

RAW = Path("data/raw")
PATCHES = Path("data/patches")
NOISY = Path("data/noisy")
COMPARISON = Path("reports/comparison.csv")
PAIRS = Path("reports/pairs.csv")
REPORT_MD = Path("reports/report.md")
REPORT_HTML = Path("reports/report.html")
REPORT_COST = Path("reports/cost.md")
COST_FIGURE = Path("reports/cost.png")
FIGURES = Path("reports/figures")
LEADERBOARD = Path("reports/leaderboard")  # of no stage: it looks over the experiments


def model(name: str) -> Path:
    """Weights and resolved settings of a trained model."""
    return Path("models") / name


def trained(name: str, number: int) -> Path:
    """Weights and settings of its training from another seed: the first one's are the model's own."""
    return model(name) / "seeds" / str(number) if number else model(name)


def trainings(name: str) -> list[Path]:
    """The folders of all its trainings, the first seed's first."""
    others = sorted((model(name) / "seeds").glob("*"), key=lambda path: int(path.name))
    return [model(name), *others]


def history(name: str) -> Path:
    """Training history: a row a validation (or a calibration trial) of every seed."""
    return Path("reports/train") / f"{name}.csv"


def progress(name: str) -> Path:
    """Pictures of validation patches as training went on."""
    return Path("reports/progress") / name


def training_cost(name: str) -> Path:
    """Measured training time; apart from the rest because it differs from run to run."""
    return Path("reports/cost/train") / f"{name}.json"


def evaluation(name: str) -> Path:
    """Metrics and per-image rows of a model on the test images."""
    return Path("reports/evaluate") / name


def samples(name: str) -> Path:
    """Restored test images kept as pictures."""
    return Path("reports/samples") / name


def inference_cost(name: str) -> Path:
    """Measured inference time and memory; apart from the rest because they differ from run to run."""
    return Path("reports/cost/evaluate") / f"{name}.json"


def released(name: str) -> Path:
    """Released weights, their settings and their card."""
    return Path("models/released") / name


def released_block(name: str) -> Path:
    """The entry that imports released weights, as a block that composes params.yaml."""
    return Path("conf/model/released") / f"{name}.yaml"


def tuned(name: str) -> Path:
    """The winner of a model's search, as a block that composes params.yaml."""
    return Path("conf/model") / f"{name}_tuned.yaml"


def tuning() -> Path:
    """Pages of the searches."""
    return Path("reports/tune")


def shared_root() -> Path:
    """The main working tree: DVC names it to its stages, a queued experiment's copy included."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def checkpoints() -> Path:
    """Training states, one folder a configuration."""
    return shared_root() / ".ckpt"


def downloads() -> Path:
    """Downloaded archives and weights, whatever experiment asked for them."""
    return shared_root() / ".downloads"
