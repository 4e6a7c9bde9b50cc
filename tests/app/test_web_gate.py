"""The gate of the page: the token, and the bounds of uploads, at the route that receives them."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from denoiselab.app.web import gate as gates
from denoiselab.app.web.gate import COOKIE, Gate
from denoiselab.app.web.limits import FILES, Limits

UPLOAD = "/_stcore/upload_file/{}/{}"
MB = 10**6


@pytest.fixture
def stored(monkeypatch) -> MemoryUploadedFileManager:
    """Streamlit's store of uploads."""
    manager = MemoryUploadedFileManager("")
    monkeypatch.setattr(gates, "get_instance", lambda: SimpleNamespace(uploaded_file_mgr=manager))
    return manager


def served(token: str = "", megabytes: int = 1) -> Starlette:
    """A small application behind the gate; its uploads are read to their end."""

    async def said(request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.method} {len(await request.body())}")

    async def talk(socket) -> None:
        await socket.accept()
        await socket.close()

    routes = [
        Route("/", said),
        Route("/_stcore/upload_file/{session}/{file}", said, methods=["PUT", "DELETE"]),
        WebSocketRoute("/_stcore/stream", talk),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Gate, token=token, allowed=Limits(megabytes))])


async def ask(
    app, path="/", method="GET", *, cookie="", origin="", length=None, body=(b"",), kind="http"
) -> tuple[int, str, str]:
    """Status (or type of the first message to a websocket), text, and headers of the answer."""
    path, _, query = path.partition("?")
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode())] if cookie else []
    if origin:
        headers += [(b"origin", origin.encode()), (b"host", b"photos.example.org:8501")]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    scope = {"type": kind, "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode()}
    scope |= {"headers": headers, "server": ("127.0.0.1", 80), "scheme": "http", "root_path": "", "subprotocols": []}
    parts, sent = [*body], []

    async def receive() -> dict:
        if kind == "websocket":
            return {"type": "websocket.connect"}
        if callable(parts[0]):
            await parts[0]()
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in sent).decode()
    return sent[0].get("status", sent[0]["type"]), text, str(sent[0].get("headers", ""))


def fill(manager, session: str, sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        manager.add_file(session, UploadedFileRec(f"{session}{number}", "a.png", "image/png", bytes(size)))


def test_without_a_token_everybody_comes_in():
    assert asyncio.run(ask(served()))[:2] == (200, "GET 0")


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("cookie", ["", "other", "SESAME", "sesame1"])
def test_nobody_comes_in_without_the_token(kind, cookie):
    path = {"http": "/", "websocket": "/_stcore/stream"}[kind]
    status, text, _ = asyncio.run(ask(served("sesame"), path, cookie=cookie, kind=kind))
    assert (status, text) == ((401, gates.NO_TOKEN) if kind == "http" else ("websocket.close", ""))


def test_the_token_of_the_address_becomes_a_cookie():
    app = served("sesame")
    assert asyncio.run(ask(app, "/?token=wrong"))[0] == 401
    status, _, headers = asyncio.run(ask(app, "/?token=sesame"))
    assert status == 303
    assert "(b'location', b'/')" in headers
    assert f"{COOKIE}=sesame; HttpOnly" in headers
    assert "(b'location', b'/')" in asyncio.run(ask(app, "//example.org/?token=sesame"))[2]
    assert asyncio.run(ask(app, cookie="sesame"))[0] == 200
    assert asyncio.run(ask(app, "/_stcore/stream", cookie="sesame", kind="websocket"))[0] == "websocket.accept"


@pytest.mark.parametrize("port", [":8501", "", ":80"])
@pytest.mark.parametrize("site", ["https://photos.example.org", "http://127.0.0.1", "null"])
def test_scripts_of_other_sites_are_refused(site, port, caplog):
    answer = asyncio.run(ask(served(), "/_stcore/stream", origin=site + port, kind="websocket"))[0]
    same = f"{site}{port}" == "https://photos.example.org:8501"
    assert answer == ("websocket.accept" if same else "websocket.close")
    assert ("a reverse proxy has to pass the Host header on" in caplog.text) == (not same)


def test_an_upload_needs_the_token_too(stored):
    assert asyncio.run(ask(served("sesame"), UPLOAD.format("mine", "a"), "PUT", length=1, body=[b"x"]))[0] == 401


def test_the_number_of_a_visitors_uploads_is_bounded(stored):
    app = served()
    fill(stored, "mine", [1] * (2 * FILES - 1))
    assert asyncio.run(ask(app, UPLOAD.format("mine", "a"), "PUT", length=1, body=[b"x"]))[:2] == (200, "PUT 1")
    fill(stored, "mine", [1] * 2 * FILES)
    assert asyncio.run(ask(app, UPLOAD.format("mine", "a"), "PUT", length=1, body=[b"x"]))[:2] == (429, gates.TOO_MANY)
    assert asyncio.run(ask(app, UPLOAD.format("mine", "a"), "DELETE"))[0] == 200
    assert asyncio.run(ask(app, UPLOAD.format("other", "a"), "PUT", length=1, body=[b"x"]))[0] == 200


@pytest.mark.parametrize("length", [2 * MB, None, "many", "-1", "9" * 5000])
def test_the_bytes_of_a_visitors_uploads_are_bounded(stored, length):
    app = served()
    fill(stored, "mine", [MB] * FILES)
    assert asyncio.run(ask(app, UPLOAD.format("mine", "a"), "PUT", length=1000, body=[b"x"]))[0] == 200
    fill(stored, "mine", [MB] * FILES + [MB // 10])
    assert asyncio.run(ask(app, UPLOAD.format("mine", "a"), "PUT", length=length, body=[b"x"]))[0] == 429


def test_the_bytes_of_all_visitors_are_bounded(stored):
    for visitor in range(4):
        fill(stored, str(visitor), [MB] * (FILES + 1))
    assert asyncio.run(ask(served(), UPLOAD.format("mine", "a"), "PUT", length=MB, body=[b"x"]))[0] == 429


def test_uploads_under_way_count_and_are_forgotten_at_their_end(stored):
    async def all_at_once() -> list[int]:
        app = served()
        begun = asyncio.Event()
        waiting = [
            asyncio.create_task(ask(app, UPLOAD.format("mine", n), "PUT", length=1, body=[waits(begun)]))
            for n in range(2 * FILES + 3)
        ]
        await asyncio.sleep(0.05)
        begun.set()
        first = [(await task)[0] for task in waiting]
        return [*first, (await ask(app, UPLOAD.format("mine", "a"), "PUT", length=1, body=[b"x"]))[0]]

    statuses = asyncio.run(all_at_once())
    assert statuses == [200] * 2 * FILES + [429] * 3 + [200]


class Late(bytes):
    """Empty body that comes after an event."""

    event: asyncio.Event

    async def __call__(self) -> None:
        await self.event.wait()


def waits(event: asyncio.Event) -> Late:
    late = Late()
    late.event = event
    return late


@pytest.mark.parametrize(("pause", "whole"), [(0.05, 60), (60, 0.05)])
def test_a_client_that_stalls_is_told_to_go(stored, monkeypatch, pause, whole):
    monkeypatch.setattr(gates, "PAUSE_S", pause)
    monkeypatch.setattr(gates, "UPLOAD_S", whole)

    async def never() -> tuple[int, str, str]:
        return await ask(served(), UPLOAD.format("mine", "a"), "PUT", length=2, body=[b"x", waits(asyncio.Event())])

    status, text, _ = asyncio.run(asyncio.wait_for(never(), 20))
    assert (status, text) == (408, gates.TOO_SLOW)
