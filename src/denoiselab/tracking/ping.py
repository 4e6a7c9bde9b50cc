"""Check that the tracking store answers."""

import os

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import without_login
from denoiselab.tracking import runs, store_errors


def check() -> str:
    """One line: the store's address, and whether it answers or will be created. UserError if it does not answer.

    Creates no store. Sets a short timeout without retries, which stays in force for this process.
    """
    address = runs.uri()
    shown = without_login(address)
    database = runs.database_file()
    if database and not database.exists():
        return f"{shown}: does not exist yet; the first training run creates it"
    os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    try:
        runs.connect().search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - raised anywhere between here and the store
        raise UserError(f"does not answer: {store_errors.reason(error, shown)}") from None
    return f"{shown}: answers"
