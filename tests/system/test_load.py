"""A short load test of the page and the served model, and tests that its checks detect wrong answers."""

import base64
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from bench._servers import Memory, free_port, running
from bench._show import Target
from bench.load import __main__ as load
from bench.load import clients, model, page, uploads
from bench.load.clients import DUE, LATER, WRONG, Answer
from bench.load.measured import Measured
from bench.load.visitor import Shown, Visitor
from tests.conftest import ROOT

PATIENCE_S = 300


@pytest.mark.slow
@pytest.mark.parametrize("server", load.SERVERS)
def test_simultaneous_clients_get_their_own_answers(server, tmp_path, monkeypatch):
    monkeypatch.setitem(uploads.SHAPES, uploads.LARGE, (300, 400))
    monkeypatch.setitem(uploads.SHAPES, uploads.HUGE, (900, 1200))
    monkeypatch.setattr(clients, "THINK_S", (0.1, 0.5))
    found = load.SERVERS[server](5, 10, tmp_path)
    assert {answer.said for answer in found.wrong} == set() and found.crashes == 0, found.output[-3000:]
    assert [str(target) for target in found.targets() if not target.met] == []
    assert {answer.kind for answer in found.answers if answer.verdict == DUE} >= {uploads.HUGE, uploads.PICTURE}


@pytest.mark.slow
def test_the_files_of_a_visitor_are_deleted_without_further_visits(tmp_path):
    """Output files at once, uploads once the session has expired."""
    port = free_port()
    address, files = f"http://127.0.0.1:{port}", tmp_path / "files"
    files.mkdir()
    command = [sys.executable, "-m", "denoiselab.app.cli", "serve", "--port", str(port)]
    settings = {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(files), "STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": "4"}

    def uploaded() -> bool:
        return "UploadedFileManager" in requests.get(f"{address}/_stcore/metrics", timeout=PATIENCE_S).text

    def until(gone) -> None:
        end = time.monotonic() + PATIENCE_S
        while not gone():
            assert time.monotonic() < end, (uploaded(), [*files.glob("denoiselab-page-*")])
            time.sleep(0.2)

    with running(command, f"{address}/_stcore/health", tmp_path / "log", **settings):
        with Visitor(address, PATIENCE_S) as visitor:
            place = visitor.choose_own(visitor.open())
            sample = {*files.glob("denoiselab-page-*")}
            upload = uploads.make(uploads.PICTURE, 1, 0, page.ALLOWED)
            visitor.upload(place, upload.name, upload.file)
            assert page.verdict(visitor.look(), upload) == (DUE, "")
            assert {*files.glob("denoiselab-page-*")} > sample
            assert uploaded()
        until(lambda: {*files.glob("denoiselab-page-*")} <= sample)
        until(lambda: not uploaded())


@pytest.fixture(scope="module")
def sent() -> uploads.Upload:
    return uploads.make(uploads.PICTURE, 3, 1, page.ALLOWED)


def shown(of: uploads.Upload, size: str = "203 × 160", name: str = "client-3-1") -> Shown:
    """The page as it would show an upload."""
    view = {"whole": "data:image/png;base64," + base64.b64encode(of.file).decode()}
    raw = bytearray(name.encode() + json.dumps(view).encode())
    return Shown(texts=[f"The picture: {size} pixels"], views=[view, view], raw=raw)


def test_the_image_that_was_sent_is_a_correct_answer(sent):
    assert page.verdict(shown(sent), sent) == (DUE, "")


@pytest.mark.parametrize("turn", range(5))
def test_another_clients_image_is_detected(sent, turn):
    other = uploads.make(uploads.PICTURE, 4, turn, page.ALLOWED)
    same_size = np.ascontiguousarray(other.pixels[:, :-1])
    assert uploads.is_own(sent, sent.file) and not uploads.is_own(sent, other.file)
    assert not uploads.is_own(sent, uploads._png(same_size))
    assert page.verdict(shown(other), sent)[0] == WRONG


def test_another_name_or_size_and_failures_are_detected(sent):
    assert page.verdict(shown(sent, name="client-31-1"), sent) == (WRONG, "the page names another client's file")
    assert page.verdict(shown(sent, size="204 × 160"), sent)[0] == WRONG
    assert page.verdict(Shown(errors=["damaged image"]), sent)[0] == WRONG
    assert page.verdict(Shown(crashes=["ZeroDivisionError"]), sent) == (WRONG, "ZeroDivisionError")
    assert page.verdict(Shown(errors=[r"20 images are waiting already\; try"]), sent) == (LATER, "")


@pytest.mark.parametrize("kind", [uploads.NOTHING, uploads.DAMAGED, uploads.PIXELS])
def test_an_invalid_upload_must_be_rejected_for_the_right_reason(kind):
    bad = uploads.make(kind, 3, 1, page.ALLOWED)
    assert page.verdict(Shown(errors=[f"client-3-1.png: {page.SAID[kind]}"]), bad)[0] == DUE
    assert page.verdict(Shown(errors=["client-3-1.png: another reason"]), bad)[0] == WRONG
    assert page.verdict(shown(bad), bad)[0] == WRONG


def test_verdicts_on_answers_of_the_model(sent):
    def answer(status: int, file: bytes = b"", message: str = "") -> SimpleNamespace:
        body = {"predictions": [{"image": base64.b64encode(file).decode()}], "message": message}
        return SimpleNamespace(status_code=status, ok=status < 400, json=lambda: body, text=message)

    other = uploads.make(uploads.PICTURE, 4, 1, model.ALLOWED)
    assert model.verdict(answer(200, sent.file), sent.kind, sent) == (DUE, "")
    assert model.verdict(answer(200, other.file), sent.kind, sent)[0] == WRONG
    assert model.verdict(answer(500), sent.kind, sent)[0] == WRONG
    assert model.verdict(answer(504), sent.kind, sent) == (LATER, "")
    assert model.verdict(answer(400, message="sigma_255: -1"), model.LEVEL, sent)[0] == DUE
    assert model.verdict(answer(200, sent.file), model.LEVEL, sent)[0] == WRONG


def test_the_page_of_the_benchmark_lists_missed_targets():
    answers = [Answer(uploads.PICTURE, seconds, DUE, "") for seconds in (1.0, 2.0, 9.0)]
    answers.append(Answer(uploads.PICTURE, 3.0, WRONG, "no answer"))
    memory = SimpleNamespace(highest=3 * 2**20, before=2**20)
    found = Measured("page", answers, memory, 2 * 2**20, False, "fine\nTraceback (most recent call last)\n")
    assert [target.met for target in found.targets()] == [False, False, False]
    assert found.crashes == 2  # the traceback, and the server has exited
    text = load.rendered({"cores": "2"}, [found], "with 3 clients", "Beside other work.")
    assert "| page | image | 3 | 0 | 1 | 2 | 8.3 | 9 |" in text
    assert str(Target("page: wrong answers", 1, 0)) in text and "Beside other work." in text


def test_a_failed_request_is_a_wrong_answer_and_its_client_continues(monkeypatch):
    monkeypatch.setattr(clients, "THINK_S", (0.0, 0.0))

    def live(client: clients.Client) -> None:
        for turn, kind in client.turns():
            with client.request(kind) as judge:
                if turn == 1:
                    raise ConnectionError("hung up")
                judge(DUE, "")
            if turn == 3:
                client.end = 0

    answers = clients.at_once(2, 60, {uploads.PICTURE: 1}, live)
    assert [answer.verdict for answer in answers] == [DUE, WRONG, DUE, DUE] * 2
    assert answers[1].said == "ConnectionError: hung up"
    assert [answer.kind for answer in answers[:4:2]] == [uploads.HUGE, uploads.PICTURE]


def test_memory_includes_child_processes():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytes([1]) * 10**8; input()'])"

    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        with Memory(process.pid) as memory:
            end = time.monotonic() + 30
            while memory.highest < 10**8 and time.monotonic() < end:
                time.sleep(0.1)
        process.communicate(b"\n")
    assert memory.highest > 10**8 > memory.before
