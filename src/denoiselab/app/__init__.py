"""Applications that need no DVC: denoising files, the command line, the web page, the MLflow service."""

from pathlib import Path

MLFLOW_SERVICE = Path(__file__).with_name("mlflow_service.py")  # MLflow runs this file; nothing imports it
