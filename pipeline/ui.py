"""Mark the runs of killed processes, then start MLflow's web UI: `python -m pipeline.ui`."""

import os
import sys

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import error_message
from denoiselab.tracking import ping, runs
from pipeline import run

HOST, PORT = "127.0.0.1", "5000"
VIEW = "?workflowType=machine_learning"  # without the parts for language models


def main() -> None:
    try:
        with runs.answering():
            runs.mark_killed_runs()
            print(f"runs: http://{HOST}:{PORT}/#/experiments/{runs.experiment_id()}/runs{VIEW}", flush=True)
    except (UserError, OSError) as error:
        ping.check()
        print(error_message(error, "warning: killed runs are not marked"), file=sys.stderr)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", PORT, "--workers", "1"]
    os.execve(sys.executable, command, os.environ | {"MLFLOW_BACKEND_STORE_URI": runs.uri()})  # may hold a password


if __name__ == "__main__":
    run(main)
