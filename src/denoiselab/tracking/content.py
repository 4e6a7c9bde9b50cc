"""The content of a run: scores, images, weights and the model."""

import csv
import io
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from denoiselab.data import noisy_sets
from denoiselab.models import model_store
from denoiselab.runtime import files, paths, stage_outputs
from denoiselab.runtime.errors import UserError
from denoiselab.tracking.runs import DESCRIPTION, connect

TEST_ROWS = "test/per_image.csv"  # artifact of a run
TEST_TABLE = "test/per_image.json"  # the same as a table for MLflow's page
COUNTS = ("images", "identical", "not_finite")  # tags instead of metrics


def now() -> int:
    """Time in milliseconds, taken once for each item, so that a repeated call logs nothing twice."""
    return int(time.time() * 1000)


def values(run: str, step: int, values: dict[str, float], at: int) -> None:
    """Log a row of the training history at time `at`: val/... and train/..."""
    from mlflow.entities import Metric

    named = {
        k.replace("val_", "val/") if k.startswith("val_") else f"train/{k}": v for k, v in values.items() if k != "step"
    }
    connect().log_batch(run, metrics=[Metric(k, v, at, step) for k, v in named.items() if math.isfinite(v)])


def monitor(run: str) -> None:
    """Log the use of processor, memory, disk, network and GPU every ten seconds, until the run has ended."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    connect()
    SystemMetricsMonitor(run, resume_logging=True).start()


def test_scores(run: str, summary: dict[str, Any], at: int) -> None:
    """Log metrics.json at time `at`: test/<condition>/..."""
    from mlflow.entities import Metric, RunTag

    client = connect()
    logged = client.get_run(run)
    models = logged.outputs.model_outputs if logged.outputs else []
    dataset = logged.inputs.dataset_inputs[0].dataset if logged.inputs.dataset_inputs else None
    linked = {"model_id": models[-1].model_id} if models else {}
    linked |= {"dataset_name": dataset.name, "dataset_digest": dataset.digest} if dataset else {}
    scores = [(f"test/{c}/{k}", v) for c, row in summary.items() if isinstance(row, dict) for k, v in row.items()]
    client.log_batch(
        run,
        metrics=[
            Metric(k, v, at, 0, **linked)
            for k, v in scores
            if not k.endswith(COUNTS) and v is not None and math.isfinite(v)
        ],
        tags=[RunTag(k, str(v)) for k, v in scores if k.endswith(COUNTS)],
    )


def test_rows(run: str, name: str, folder: Path) -> None:
    """Log test/per_image.csv: the scores of the training run in `folder`, with hashes of the noisy test images."""
    import pandas as pd

    seed = str(model_store.read_card(folder)["seed"])
    path = stage_outputs.evaluated(name, "per_image.csv")
    rows = [row for row in files.read_csv(path) if row["seed"] == seed]
    if not rows:
        raise UserError(f"{path}: has no rows of seed {seed}; run `dvc repro evaluate@{name}`")
    stored = {
        (condition, test.row.image, str(test.draw)): test
        for condition in {row["condition"] for row in rows}
        for test in noisy_sets.stored(paths.RAW, paths.NOISY, condition)
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], "psnr_noisy", "clean_sha256", "noisy_sha256"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        test = stored[row["condition"], row["image"], row["draw"]]
        known = {"psnr_noisy": test.psnr_noisy, "clean_sha256": test.row.sha256, "noisy_sha256": test.sha256}
        writer.writerow(row | known)
    client = connect()
    client.log_text(run, text.getvalue(), TEST_ROWS)
    # log_table would add the rows to those of an earlier evaluation
    client.log_text(run, pd.read_csv(io.StringIO(text.getvalue())).to_json(orient="split", index=False), TEST_TABLE)
    client.set_tag(run, "mlflow.loggedArtifacts", json.dumps([{"path": TEST_TABLE, "type": "table"}]))


def log_image(run: dict[str, str], key: str, pixels: np.ndarray) -> None:
    """Log an image, (H, W, C) uint8, for MLflow's image grid."""
    connect().log_image(run["id"], pixels, key=re.sub(r"[^A-Za-z0-9_./-]+", "_", key), step=0)


def model_files(run: str, folder: Path) -> None:
    """Log weights and model.json as artifacts, a network also as an MLflow model for any batch, height and width."""
    import mlflow
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    client = connect()
    for path in (p for p in sorted(folder.iterdir()) if p.is_file()):
        client.log_artifact(run, str(path), artifact_path="weights")
    model = model_store.load(folder)
    if model_store.parameters(model):
        card = model_store.read_card(folder)
        channels = card["architecture"]["channels"]
        images = Schema([TensorSpec(np.dtype("float32"), (-1, channels, -1, -1))])
        scores = Schema([TensorSpec(np.dtype("float32"), (-1, len(card["classes"])))])
        with mlflow.start_run(run_id=run, log_system_metrics=False):
            mlflow.pytorch.log_model(
                model,
                name=card["name"],
                signature=ModelSignature(inputs=images, outputs=scores if card["task"] == "classify" else images),
                input_example=np.zeros((2, channels, 50, 70), np.float32),
                tags={DESCRIPTION: client.get_run(run).data.tags.get(DESCRIPTION, "")},
                pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", f"numpy=={np.__version__}"],
            )
    client.set_tag(run, "weights.sha256", model_store.digest(folder))


def steps(run: str) -> list[int]:
    """Steps whose validation scores the run already contains."""
    scores = ("held_out", "psnr", "accuracy")
    return [m.step for score in scores for m in connect().get_metric_history(run, f"val/{score}")]
