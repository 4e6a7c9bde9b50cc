"""What a version of the registry serves: the file of a picture in, that of the restored one out.

MLflow runs this file as it stands, with the package's code beside it ("models from code"): nothing is pickled.
"""

import base64
from threading import Lock
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

MAX_PIXELS = 50_000_000  # of a picture; told by its header, before it is decoded
WEIGHTS = "weights"  # artifact: the folder of a trained model


class Service(PythonModel):
    """Restores pictures one after another, each with all cores or the GPU."""

    def load_context(self, context: Any) -> None:
        from denoiselab import denoisers

        self.denoiser = denoisers.load(context.artifacts[WEIGHTS])
        self.alone = Lock()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """A row a picture: `image`, the bytes of a PNG, TIFF, JPEG or WebP file of any size, and `sigma_255`, its
        noise level, or nothing where the model shall tell. Returns {"image": base64}: PNG, or TIFF for float values,
        at the picture's depth. A row that is no picture is a bad request (400)."""
        try:
            return [self._restored(**row) for row in model_input.to_dict("records")]
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _restored(self, image: bytes, sigma_255: float | None = None) -> dict[str, str]:
        from denoiselab import photos

        photo = photos.read(image, name="image", max_pixels=MAX_PIXELS)
        level = None if sigma_255 is None or pd.isna(sigma_255) else sigma_255
        with self.alone:
            pixels = self.denoiser.restore(photo.pixels, sigma_255=level)
        suffix = ".tif" if photo.dtype.kind == "f" else ".png"
        return {"image": base64.b64encode(photos.encode(photo, pixels, suffix)).decode("ascii")}


set_model(Service())
