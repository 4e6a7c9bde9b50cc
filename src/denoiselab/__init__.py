"""denoiselab: reproducible image-denoising experiments."""

import os

__version__ = "0.1.0"

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read by MLflow at its import
