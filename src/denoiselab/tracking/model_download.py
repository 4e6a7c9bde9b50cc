"""Download the weights behind an MLflow model URI."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line
from denoiselab.tracking import runs

WEIGHTS = "weights"  # artifact folder that content.model_files writes: the files of models/<name>/


@contextmanager
def fetched(uri: str) -> Iterator[Path]:
    """A temporary folder with weights (safetensors) and model.json of the run behind a model URI.

    `uri`: models:/name@alias, models:/name/version, models:/id or runs:/id/name. Nothing is unpickled. UserError
    if the store or the model is missing.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    database = runs.database_file()
    if database and not database.exists():  # MLflow would create one
        raise UserError(
            f"model {uri!r}: there is no MLflow store at {database}; set MLFLOW_TRACKING_URI to name another"
        )
    with tempfile.TemporaryDirectory(prefix="denoiselab-") as folder:
        try:
            client = runs.connect()
            where = client.download_artifacts(_run(client, uri), WEIGHTS, folder)
        except (MlflowException, OSError, SQLAlchemyError) as error:
            raise UserError(f"model {uri!r}: {one_line(error, 500)}") from None
        yield Path(where)


def _run(client: Any, uri: str) -> str:
    """The id of the run that trained the model."""
    scheme, _, rest = uri.partition(":/")
    if scheme == "runs":
        return rest.strip("/").partition("/")[0]
    name, at, alias = rest.partition("@")
    if at:
        return client.get_model_version_by_alias(name, alias).run_id
    name, slash, version = rest.partition("/")
    return client.get_model_version(name, version).run_id if slash else client.get_logged_model(rest).source_run_id
