"""Load test of the web page: visitors open it, upload images, check the results and leave."""

import base64
import sys
from functools import partial
from pathlib import Path

from bench._project import ROOT
from bench._servers import Memory, free_port, running
from bench.load import uploads
from bench.load.clients import DUE, LATER, TIMEOUT_S, WRONG, Client, at_once
from bench.load.measured import Measured, most_bytes
from bench.load.uploads import Upload
from bench.load.visitor import RefusedError, Shown, Visitor, plain
from denoiselab.app.web.limits import Limits
from denoiselab.app.web.views import WHOLE

NAME = "page"
OPEN, LEAVE = "opens the page", "leaves before the answer"
WEIGHTS = uploads.WEIGHTS | {LEAVE: 12}
SAID = uploads.SAID
EACH = 16 * 2**20  # bytes per client: a file and its views, in the current visit and in one that has just ended
TOO_HEAVY = 413  # HTTP
TOO_MANY = "waiting already"
ALLOWED = uploads.Allowed(Limits().megapixels, Limits().megabytes * 2**20)


def measure(clients: int, seconds: float, folder: Path) -> Measured:
    """Serve the page and load-test it; its log is in `folder`."""
    port = free_port()
    address, log = f"http://127.0.0.1:{port}", folder / "page.log"
    command = [sys.executable, "-m", "denoiselab.app.cli", "serve", "--port", str(port)]
    with running(command, f"{address}/_stcore/health", log, PYTHONPATH=str(ROOT / "src")) as process:
        with Visitor(address, TIMEOUT_S) as first:
            first.open()  # loads the models
        with Memory(process.pid) as memory:
            answers = at_once(clients, seconds, WEIGHTS, partial(visit, address))
        bound = most_bytes(memory.before, clients, EACH)
        return Measured(NAME, answers, memory, bound, process.poll() is None, log.read_text("utf-8", "replace"))


def visit(address: str, client: Client) -> None:
    """Send one upload after another, in one or several visits, until the time is over."""
    visitor = None
    try:
        for turn, kind in client.turns():
            if visitor is None:
                visitor = Visitor(address, TIMEOUT_S)
                place = _arrive(visitor, client)
            if kind == LEAVE:
                with client.request(kind) as judge:
                    visitor.upload(place, *_file(uploads.make(uploads.PICTURE, client.number, turn, ALLOWED)))
                    visitor.ask()
                    visitor.close()
                    judge(DUE, "")
                visitor = None
            else:
                _hand_in(visitor, place, client, uploads.make(kind, client.number, turn, ALLOWED))
    finally:
        if visitor:
            visitor.close()


def _arrive(visitor: Visitor, client: Client) -> Shown:
    """Open the page and choose to upload an image."""
    with client.request(OPEN) as judge:
        shown = visitor.open()
        judge(*_verdict_of_sample(shown))
        return visitor.choose_own(shown)


def _hand_in(visitor: Visitor, place: Shown, client: Client, upload: Upload) -> None:
    with client.request(upload.kind) as judge:
        try:
            visitor.upload(place, *_file(upload))
        except RefusedError as refused:
            due = upload.kind == uploads.HEAVY and refused.args[0] in (TOO_HEAVY, 0)
            judge(DUE if due else WRONG, f"HTTP {refused}")
        else:
            judge(*verdict(visitor.look(), upload))


def _file(upload: Upload) -> tuple[str, bytes]:
    return upload.name, upload.file


def verdict(shown: Shown, upload: Upload) -> tuple[str, str]:
    """Verdict on what the page shows after an upload, and the reason."""
    if uploads.is_of_another(upload.client, bytes(shown.raw)):
        return WRONG, "the page names another client's file"
    if shown.crashes:
        return WRONG, shown.crashes[0]
    said = plain(" ".join(shown.errors))
    if TOO_MANY in said:
        return LATER, ""
    if upload.pixels is None:
        return (DUE if upload.kind in SAID and SAID[upload.kind] in said and not shown.views else WRONG), said
    height, width = upload.pixels.shape[:2]
    if said or not any(f"{width} × {height} pixels" in text for text in shown.texts):
        return WRONG, f"{width}x{height}: {said or shown.texts}"
    smaller = height * width > WHOLE
    own = [uploads.is_own(upload, _jpeg(view["whole"]), smaller=smaller) for view in shown.views]
    if len(own) < 2 or not all(own):
        return WRONG, f"{len(shown.views)} views, not all of the image that was sent"
    return DUE, ""


def _verdict_of_sample(shown: Shown) -> tuple[str, str]:
    if shown.views and not shown.errors and not shown.crashes:
        return DUE, ""
    said = plain(" ".join(shown.errors + shown.crashes))
    return (LATER if TOO_MANY in said else WRONG), said


def _jpeg(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])
