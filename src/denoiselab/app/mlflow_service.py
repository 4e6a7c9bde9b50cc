"""Service of a registered model version: image file in, restored image file out.

MLflow runs this file as it is, with the package's code beside it ("models from code"): nothing is pickled.
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

MAX_PIXELS = 50_000_000  # checked in the file header, before decoding
HIGHEST_LEVEL = 255  # of noise, on the scale of 0 to 255
WEIGHTS = "weights"  # artifact: the folder of a trained model


class Service(PythonModel):
    """Restores images one after another, each with all cores or the GPU."""

    def load_context(self, context: Any) -> None:
        from denoiselab.app import denoisers

        self.denoiser = denoisers.load(context.artifacts[WEIGHTS])
        self.alone = Lock()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """Restore one image per row; returns {"image": base64} for each, a PNG, or a TIFF for float values, at the
        image's bit depth.

        `image`: bytes of an image file of any format that imaging.photos reads. `sigma_255`: its noise level from 0
        to 255; missing or NaN (JSON's null): estimated by the model.

        HTTP status: 400 if a row is not an image or its level is out of range, 503 if memory is short, 500 for other
        failures (MLflow's default is 400 for all of them).
        """
        try:
            return [self._restored(**row) for row in model_input.to_dict("records")]
        except MlflowException:
            raise
        except BusyError as busy:
            raise MlflowException(str(busy), error_code=TEMPORARILY_UNAVAILABLE) from None
        except Exception as error:  # noqa: BLE001 - becomes HTTP 500
            traceback.print_exc()  # to the server's log
            message = f"the server failed: {type(error).__name__}"
            raise MlflowException(message, error_code=INTERNAL_ERROR) from None

    def _restored(self, image: bytes, sigma_255: float | None = None) -> dict[str, str]:
        from denoiselab.imaging import photos

        level = _level(sigma_255)
        with self.alone:  # images that wait are not decoded yet
            photo = _read(image, self.denoiser)
            pixels = self.denoiser.restore(photo.pixels, sigma_255=level)
            suffix = ".png" if photo.dtype in ("uint8", "uint16") else ".tif"
            file = photos.encode(photo, pixels, suffix)
        return {"image": base64.b64encode(file).decode("ascii")}


def _read(image: bytes, denoiser: Any) -> Any:
    """The file as a photos.Photo, if there is enough memory for `denoiser` (a denoisers.Denoiser) to restore it."""
    from denoiselab.app import memory
    from denoiselab.imaging import photos

    try:
        size = photos.size(image, name="image", max_pixels=MAX_PIXELS)
        memory.check_memory(min(size, MAX_PIXELS), [denoiser])
        return photos.read(image, name="image", max_pixels=MAX_PIXELS)
    except BusyError:
        raise
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(str(error)) from None


def _level(sigma_255: float | None) -> float | None:
    if sigma_255 is None or pd.isna(sigma_255):
        return None
    if not 0 <= sigma_255 <= HIGHEST_LEVEL:
        message = f"sigma_255: {sigma_255:g} is not a noise level; use 0 to {HIGHEST_LEVEL}, or leave it out"
        raise MlflowException.invalid_parameter_value(message)
    return sigma_255


set_model(Service())
