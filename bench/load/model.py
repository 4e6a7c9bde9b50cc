"""Load test of the served model: clients send images to `mlflow models serve`."""

import base64
import sys
from functools import partial
from pathlib import Path
from typing import Any

import requests

from bench._servers import Memory, free_port, running
from bench.load import uploads
from bench.load.clients import DUE, LATER, TIMEOUT_S, WRONG, Client, at_once
from bench.load.measured import Measured, most_bytes
from bench.load.uploads import Upload
from denoiselab.app import MLFLOW_SERVICE, denoisers
from denoiselab.tracking import packaging

NAME, MODEL = "model", "colour"
LEVEL = "invalid noise level"
WEIGHTS = uploads.WEIGHTS | {LEVEL: 12}
SAID = uploads.SAID | {uploads.HEAVY: uploads.SAID[uploads.NOTHING], LEVEL: "sigma_255"}
BAD = 400  # HTTP
BUSY = (429, 503, 504)
ALLOWED = uploads.Allowed(megapixels=50, bytes=30 * 10**6)
EACH = 40 * 2**20  # bytes per client: its longest request


def measure(clients: int, seconds: float, folder: Path) -> Measured:
    """Serve MODEL, packaged as a promoted version, from `folder`, and load-test it."""
    packaging.pack(denoisers.load(MODEL).entry.folder, folder / "packed", MLFLOW_SERVICE)
    port = free_port()
    address, log = f"http://127.0.0.1:{port}", folder / "model.log"
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder / "packed"), *options]
    with running(command, f"{address}/ping", log, PYTHONPATH="") as process:  # the model contains its code
        with Memory(process.pid) as memory:
            answers = at_once(clients, seconds, WEIGHTS, partial(ask, address))
        bound = most_bytes(memory.before, clients, EACH)
        return Measured(NAME, answers, memory, bound, process.poll() is None, log.read_text("utf-8", "replace"))


def ask(address: str, client: Client) -> None:
    """Send one image after another until the time is over."""
    for turn, kind in client.turns():
        upload = uploads.make(uploads.PICTURE if kind == LEVEL else kind, client.number, turn, ALLOWED)
        row: dict[str, Any] = {"image": base64.b64encode(upload.file).decode("ascii")}
        if kind == LEVEL:
            row["sigma_255"] = -1.0
        with client.request(kind) as judge:
            body = {"dataframe_records": [row]}
            answer = requests.post(f"{address}/invocations", json=body, timeout=TIMEOUT_S)
            judge(*verdict(answer, kind, upload))


def verdict(answer: requests.Response, kind: str, upload: Upload) -> tuple[str, str]:
    """Verdict on the answer to an upload, and the reason."""
    if answer.status_code in BUSY:
        return LATER, ""
    if kind in SAID:
        due = answer.status_code == BAD and SAID[kind] in answer.json()["message"]
        return DUE if due else WRONG, f"HTTP {answer.status_code}: {answer.text[:300]}"
    if not answer.ok:
        return WRONG, f"HTTP {answer.status_code}: {answer.text[:300]}"
    (found,) = answer.json()["predictions"]
    own = uploads.is_own(upload, base64.b64decode(found["image"]))
    return (DUE, "") if own else (WRONG, "the image is not the one that was sent")
