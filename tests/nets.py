"""Small nets trained in seconds, evaluated on real photographs: for the tests of MLflow."""

from pathlib import Path

import pytest
import yaml

from denoiselab import tracking
from denoiselab.config import Params
from denoiselab.runtime import files, paths
from tests.conftest import many_photos, run_stages, small

NET = {"arch": "dncnn", "needs": "data/patches", "channels": 3, "depth": 3, "features": 8, "batch_norm": False}
STEPS = {"short": 20, "long": 80}


def workspace(root: Path, *overrides: str) -> Params:
    """A project in `root` that trained and evaluated the nets `short` and `long`; MLflow knows nothing of it yet."""
    many_photos(root / "photos")
    tree = small(root / "photos", "data.drop_leaks=true", *overrides).model_dump(mode="json", exclude_unset=True)
    tree["train"] |= {"validate_every": 20, "crop": 32, "warmup_steps": 0, "lr": 0.003}
    tree["models"] = {name: {**NET, "steps": steps} for name, steps in STEPS.items()}
    params = Params.model_validate(tree)
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json", exclude_unset=True)))
    run_stages(root, params)
    return params


def log(name: str) -> None:
    """What stage evaluate logs, but the pictures; it waits for the store as long as a busy machine takes."""
    summary = files.read_json(paths.evaluation(name) / "metrics.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking.worker, "PATIENCE_S", 600)
        tracking.log_evaluation(name, paths.model(name), summary, [])
