"""denoiselab: reproducible image-denoising experiments."""

import os

__version__ = "0.1.0"

# Read by the packages at their import: neither may call home.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
