"""What a version of the registry serves: the file of a picture in, that of the restored one out.

MLflow runs this file as it stands, with the package's code beside it ("models from code"): nothing is pickled.
"""

import base64
import traceback
from threading import Lock
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE
from mlflow.pyfunc import PythonModel

from denoiselab.runtime.errors import BusyError

MAX_PIXELS = 50_000_000  # of a picture; told by its header, before it is decoded
HIGHEST_LEVEL = 255  # of noise, of 255
WEIGHTS = "weights"  # artifact: the folder of a trained model


class Service(PythonModel):
    """Restores pictures one after another, each with all cores or the GPU."""

    def load_context(self, context: Any) -> None:
        from denoiselab.app import denoisers

        self.denoiser = denoisers.load(context.artifacts[WEIGHTS])
        self.alone = Lock()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """A row a picture: `image`, the bytes of a PNG, TIFF, JPEG or WebP file of any size, and `sigma_255`, its
        noise level from 0 to 255, or nothing (or NaN, which JSON's null becomes) where the model shall tell. Returns
        {"image": base64}: PNG, or TIFF for float values, at the picture's depth.

        A row that is no picture or has another level is a bad request (400), one for which memory is short may come
        later (503), and what fails in here is no fault of the request (500): MLflow itself calls all of it 400.
        """
        try:
            return [self._restored(**row) for row in model_input.to_dict("records")]
        except MlflowException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is
            traceback.print_exc()  # for the server's own output
            said = f"the server failed: {type(error).__name__}"
            raise MlflowException(said, error_code=INTERNAL_ERROR) from None

    def _restored(self, image: bytes, sigma_255: float | None = None) -> dict[str, str]:
        from denoiselab.imaging import photos

        level = _level(sigma_255)
        with self.alone:  # what waits is not decoded
            photo = _read(image, self.denoiser)
            pixels = self.denoiser.restore(photo.pixels, sigma_255=level)
            suffix = ".tif" if photo.dtype.kind == "f" else ".png"
            file = photos.encode(photo, pixels, suffix)
        return {"image": base64.b64encode(file).decode("ascii")}


def _read(image: bytes, denoiser: Any) -> Any:
    """The photos.Photo of a file, if there is memory for the denoisers.Denoiser to restore it."""
    from denoiselab.app import memory
    from denoiselab.imaging import photos

    try:
        size = photos.size(image, name="image", max_pixels=MAX_PIXELS)
        memory.check_memory(min(size, MAX_PIXELS), [denoiser])
        return photos.read(image, name="image", max_pixels=MAX_PIXELS)
    except BusyError as busy:
        raise MlflowException(str(busy), error_code=TEMPORARILY_UNAVAILABLE) from None
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(str(error)) from None


def _level(sigma_255: float | None) -> float | None:
    if sigma_255 is None or pd.isna(sigma_255):
        return None
    if not 0 <= sigma_255 <= HIGHEST_LEVEL:
        said = f"sigma_255: {sigma_255:g} is no noise level; it is from 0 to {HIGHEST_LEVEL}, or left out"
        raise MlflowException.invalid_parameter_value(said)
    return sigma_255


set_model(Service())
