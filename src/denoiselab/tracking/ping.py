"""Does the one store answer?"""

import os
from pathlib import Path

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line, without_login
from denoiselab.tracking import runs

SQLITE = "sqlite:///"


def answer() -> str:
    """Where the store is and that it answers, or that it is still to be made. ValueError says why it does not answer.

    Makes no store, and asks only once; from then on, this process does not wait long for its store.
    """
    address = runs.uri()
    shown = without_login(address)
    if address.startswith(SQLITE) and not Path(address.removeprefix(SQLITE)).exists():
        return f"{shown}: not there yet, the first training makes it"
    os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    try:
        runs.connect().search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - of whatever lies between here and the store
        reason = one_line(error)
        raise UserError(f"{shown}: does not answer: {reason}") from None
    return f"{shown}: answers"
