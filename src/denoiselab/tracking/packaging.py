"""Package a trained model for `mlflow models serve`: weights, service, and the code of denoiselab."""

import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
REQUIRED = (
    *("mlflow", "numpy", "opencv-python-headless", "pandas", "pillow", "psutil", "pydantic", "pyyaml"),
    *("safetensors", "scikit-image", "scipy", "tifffile", "torch"),
)


def pack(weights: Path, folder: Path, service: Path) -> None:
    """Write the MLflow model of the trained model in the folder `weights` to `folder`, which must not exist.

    `service` is the Python file that answers the requests.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    image, level = ColSpec("binary", "image"), ColSpec("double", "sigma_255", required=False)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the missing input example
        own = Path(temporary) / "weights"  # without the subfolders of other seeds
        own.mkdir()
        for file in (path for path in weights.iterdir() if path.is_file()):
            shutil.copyfile(file, own / file.name)
        mlflow.pyfunc.save_model(
            folder,
            python_model=service,
            artifacts={"weights": str(own)},
            code_paths=[str(PACKAGE)],
            signature=ModelSignature(inputs=Schema([image, level]), outputs=Schema([ColSpec("string", "image")])),
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIRED],
        )
