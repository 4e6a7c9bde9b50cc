"""The weights behind MLflow's addresses of models."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line
from denoiselab.tracking import runs

WEIGHTS = "weights"  # the artifact folder where content.model_files puts the model as it is in models/<name>/


@contextmanager
def fetched(uri: str) -> Iterator[Path]:
    """While it lasts, a folder with the weights and card of models:/name@alias, models:/name/version, models:/id or
    runs:/id/model: those of the run that made the model, as safetensors; nothing is unpickled.

    ValueError where the store or the model is missing.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    database = runs.uri().removeprefix("sqlite:///")
    if database != runs.uri() and not Path(database).exists():  # MLflow would make one
        raise UserError(f"model {uri!r}: there is no MLflow store at {database}; MLFLOW_TRACKING_URI may name another")
    with tempfile.TemporaryDirectory(prefix="denoiselab-") as folder:
        try:
            client = runs.connect()
            where = client.download_artifacts(_run(client, uri), WEIGHTS, folder)
        except (MlflowException, OSError, SQLAlchemyError) as error:
            raise UserError(f"model {uri!r}: {one_line(error, 500)}") from None
        yield Path(where)


def _run(client: Any, uri: str) -> str:
    """The id of the run that made the model."""
    scheme, _, rest = uri.partition(":/")
    if scheme == "runs":
        return rest.strip("/").partition("/")[0]
    name, at, alias = rest.partition("@")
    if at:
        return client.get_model_version_by_alias(name, alias).run_id
    name, slash, version = rest.partition("/")
    return client.get_model_version(name, version).run_id if slash else client.get_logged_model(rest).source_run_id
