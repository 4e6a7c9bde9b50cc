"""What people use without DVC: denoising, the command, the web page, the MLflow service."""

from pathlib import Path

MLFLOW_SERVICE = Path(__file__).with_name("mlflow_service.py")  # run by MLflow, never imported
