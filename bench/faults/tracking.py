"""Failures of the tracking store (refuses, stalls, answers 500, dies, is locked), which must not affect training.

Each trial trains the toy project's U-Net with a new, failing store, lets the store recover and evaluates. The outputs
must equal those of an undisturbed run, and MLflow must have one complete run and none left RUNNING.
"""

import http.client
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench._servers import free_port
from bench.faults import _toy
from bench.faults._trial import Row, Settings, Trial

STAGE = "evaluate@unet"  # the last stage that logs to the run
WARNING = "warning: MLflow"
STALL_S = 60
HOP = {"connection", "transfer-encoding", "content-length"}  # headers that a proxy sets itself
Store = AbstractContextManager[tuple[str, str]]  # store URIs during and after training


def trials(settings: Settings) -> Iterator[Trial]:
    lock_s = 5 if settings.short else 60
    kinds: dict[str, Callable[[Path, random.Random], Store]] = {
        f"is locked by another process for {lock_s} s": partial(_locked, seconds=lock_s),
    }
    if not settings.short:  # these take long: stages wait for a store that does not answer
        kinds |= {
            "refuses connections": _refusing,
            "stalls": partial(_answering, status=None, seconds=STALL_S),
            "answers 500": partial(_answering, status=500, seconds=0),
            "dies in mid-run and comes back": partial(_dying, away_s=5),
            "dies in mid-run until training is done": partial(_dying, away_s=None),
            "loses every third answer": _losing,
        }
    for kind, store in kinds.items():
        yield Trial(kind, partial(_tracked, settings, kind, store))


def _tracked(settings: Settings, kind: str, store: Callable[[Path, random.Random], Store]) -> Row:
    """Train and evaluate with a failing store."""
    project = _toy.finished(settings.folder / "toy")
    root = settings.folder / "tracking" / kind.replace(" ", "-")
    root.mkdir(parents=True)
    with store(root, settings.random(kind)) as (during, afterwards):
        done = [_run(project.folder, root, "train", during), _run(project.folder, root, "evaluate", afterwards)]
        lost = _toy.lost_runs(afterwards or _toy.store(root), STAGE)
    failed = [_toy.error_line(output) for rc, output in done if rc]
    wrong, left = project.wrong(), _toy.leftovers(root)
    warning = next((line for _, output in done for line in output.splitlines() if line.startswith(WARNING)), "")
    faults = "; ".join([*failed, *wrong, *lost, *left])
    good = not (failed or wrong or lost)
    return Row(f"the store {kind}", "train", 1, int(good), len(wrong), len(lost), len(left), faults or warning)


def _run(project: Path, root: Path, stage: str, address: str) -> tuple[int, str]:
    """Run a stage. Returns its exit code and output. An empty `address` stands for the store in `root`."""
    settings = {"MLFLOW_TRACKING_URI": address} if address else {}
    process = _toy.start(project, sys.executable, "-m", f"pipeline.{stage}", "unet", DVC_ROOT=str(root), **settings)
    output, _ = process.communicate(timeout=_toy.TIMEOUT_S)
    return process.returncode, output


@contextmanager
def _refusing(root: Path, rng: random.Random) -> Iterator[tuple[str, str]]:
    """No server listens at the address used for training."""
    yield f"http://127.0.0.1:{free_port()}", ""


@contextmanager
def _answering(root: Path, rng: random.Random, status: int | None, seconds: float) -> Iterator[tuple[str, str]]:
    """A server that answers every request with `status` after `seconds`; None: closes without an answer."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        if status is not None:
            request.send_error(status)

    with _serving(answer) as address:
        yield address, ""


@contextmanager
def _locked(root: Path, rng: random.Random, seconds: float) -> Iterator[tuple[str, str]]:
    """The database is locked for `seconds` once the run has started."""
    path, over = root / "mlflow.db", threading.Event()

    def lock() -> None:
        _begun(path, over)
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            over.wait(seconds)
            database.execute("ROLLBACK")

    with _beside(lock, over):
        yield "", ""


@contextmanager
def _dying(root: Path, rng: random.Random, away_s: float | None) -> Iterator[tuple[str, str]]:
    """An MLflow server that is killed during the run and restarted after `away_s` seconds (None: after training)."""
    over, port = threading.Event(), free_port()
    servers = [_server(root, port)]

    def kill() -> None:
        _begun(root / "mlflow.db", over)
        time.sleep(rng.uniform(0, 2))
        _stop(servers[0], signal.SIGKILL)
        over.wait(away_s or 20)
        servers.append(_server(root, port))

    try:
        with _beside(kill, over):
            yield (f"http://127.0.0.1:{port}",) * 2
    finally:
        for server in servers:
            _stop(server, signal.SIGTERM)


@contextmanager
def _losing(root: Path, rng: random.Random) -> Iterator[tuple[str, str]]:
    """An MLflow server behind a proxy that executes every request but replaces a third of the answers by 502."""
    port = free_port()
    server = _server(root, port)

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as behind:
            headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP}
            behind.request(request.command, request.path, body, headers)
            found = behind.getresponse()
            data = found.read()
        if rng.random() < 1 / 3:
            return request.send_error(502)
        request.send_response(found.status)
        for key, value in found.getheaders():
            if key.lower() not in HOP:
                request.send_header(key, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
        return None

    try:
        with _serving(answer) as address:
            yield address, f"http://127.0.0.1:{port}"
    finally:
        _stop(server, signal.SIGTERM)


@contextmanager
def _serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Run a server that calls `answer` for every request; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def _beside(work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    """Run `work` in a thread for the duration of the block; `over` is set at the end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _begun(path: Path, over: threading.Event) -> None:
    """Wait until a run in the database has a metric."""
    while not over.wait(0.05):
        if path.exists():
            with closing(sqlite3.connect(path)) as database:
                try:
                    if database.execute("SELECT count(*) FROM metrics").fetchone()[0]:
                        return
                except sqlite3.OperationalError:  # the tables do not exist yet
                    continue


def _server(root: Path, port: int) -> "subprocess.Popen[str]":
    """Start an MLflow server and wait until it answers."""
    where = ["--backend-store-uri", _toy.store(root), "--artifacts-destination", str(root / "mlartifacts")]
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = root / "server.log"
    with log.open("ab") as output:
        command = [sys.executable, "-m", "mlflow", "server", *where, *options]
        process = subprocess.Popen(command, stdout=output, stderr=output, text=True, start_new_session=True)
    deadline = time.monotonic() + _toy.TIMEOUT_S
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"mlflow server: {log.read_text(encoding='utf-8')[-500:]}")
        time.sleep(0.2)
    return process


def _answers(port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False


def _stop(process: "subprocess.Popen[str]", chosen: signal.Signals) -> None:
    _toy.stop(process.pid, chosen)
    process.wait(_toy.TIMEOUT_S)
