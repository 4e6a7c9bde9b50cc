"""A visitor of the page without a browser, who speaks with Streamlit's server as the page's script in a browser does:
protobuf messages over a web socket, and files over HTTP."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from google.protobuf.message import Message
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import FileUploaderState, UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

COOKIE, HEADER = "_streamlit_xsrf", "X-Xsrftoken"
OWN = "Your own"  # picture, and not one of the samples


class RefusedError(Exception):
    """The upload: the server's HTTP status, 0 where it hung up in the middle."""


@dataclass
class Shown:
    """What a run of the page's script put on the page."""

    texts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)  # exceptions that the page did not expect
    views: list[dict[str, Any]] = field(default_factory=list)  # of the slider, as page.views.View
    widgets: dict[str, str] = field(default_factory=dict)  # kind of a widget -> the last one's id
    raw: bytearray = field(default_factory=bytearray)  # all that the server sent


class Visitor:
    """One tab of a browser. Whatever the server leaves unanswered for `patience_s` seconds is a TimeoutError; a
    connection that breaks is a ConnectionError."""

    def __init__(self, address: str, patience_s: float) -> None:
        self._patience_s = patience_s
        self._address = address
        self._states: dict[str, WidgetState] = {}
        self._uploaded = ""
        self._http = requests.Session()
        self._http.headers["Connection"] = "close"  # the server ends idle ones, which a browser would try anew
        self._http.get(f"{address}/_stcore/health", timeout=patience_s).raise_for_status()
        self._token = str(self._http.cookies[COOKIE])
        self._socket = connect(
            f"ws://{urlsplit(address).netloc}/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            additional_headers={"Cookie": f"{COOKIE}={self._token}", "Origin": address},
            max_size=None,
            open_timeout=patience_s,
        )
        self._session = ""

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Shown:
        """The page as it first shows itself: with a sample."""
        return self._run()

    def choose_own(self, shown: Shown) -> Shown:
        """The page with a place for a picture of one's own."""
        self._set(WidgetState(id=shown.widgets["radio"], string_value=OWN))
        return self._run()

    def upload(self, shown: Shown, name: str, file: bytes) -> None:
        """Hand in a file instead of the one before; RefusedError where the server does not take it."""
        if self._uploaded:
            self._http.delete(self._uploaded, headers={HEADER: self._token}, timeout=self._patience_s)
        urls = self._place(name)
        self._uploaded = f"{self._address}{urls.delete_url}"
        try:
            answer = self._http.put(
                f"{self._address}{urls.upload_url}",
                files={"file": (name, file)},
                headers={HEADER: self._token},
                timeout=self._patience_s,
            )
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):  # closed while it was sent
            raise RefusedError(0) from None
        if not answer.ok:
            raise RefusedError(answer.status_code)
        info = UploadedFileInfo(name=name, size=len(file), file_id=urls.file_id, file_urls=urls)
        state = FileUploaderState(uploaded_file_info=[info])
        self._set(WidgetState(id=shown.widgets["file_uploader"], file_uploader_state_value=state))

    def look(self) -> Shown:
        """The page with what it makes of the file."""
        return self._run()

    def ask(self) -> None:
        """As `look`, but without waiting for the answer."""
        message = BackMsg()
        message.rerun_script.widget_states.widgets.extend(self._states.values())
        self._send(message)

    def close(self) -> None:
        self._socket.close()
        self._http.close()

    def _set(self, state: WidgetState) -> None:
        self._states[state.id] = state

    def _place(self, name: str) -> Any:
        """Where to send a file: FileURLs."""
        message = BackMsg()
        request = message.file_urls_request
        request.request_id, request.session_id = name, self._session
        request.file_names.append(name)
        self._send(message)
        for answer in self._answers():
            if answer.WhichOneof("type") == "file_urls_response":
                return answer.file_urls_response.file_urls[0]
        raise AssertionError("answers do not end")

    def _run(self) -> Shown:
        self.ask()
        shown = Shown()
        for message in self._answers(shown.raw):
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self._session = message.new_session.initialize.session_id or self._session
                shown = Shown(raw=shown.raw)
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                _note(shown, message.delta.new_element)
            elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return shown
        raise AssertionError("answers do not end")

    def _send(self, message: Message) -> None:
        try:
            self._socket.send(message.SerializeToString())
        except ConnectionClosed as error:
            raise ConnectionError(f"the page hung up: {error}") from None

    def _answers(self, raw: bytearray | None = None) -> Iterator[ForwardMsg]:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                data = self._socket.recv(timeout=max(0.0, until - time.monotonic()))
            except ConnectionClosed as error:
                raise ConnectionError(f"the page hung up: {error}") from None
            assert isinstance(data, bytes)
            if raw is not None:
                raw += data
            yield ForwardMsg.FromString(data)


def _note(shown: Shown, element: Any) -> None:
    """Add an element of the page to what is shown."""
    kind = element.WhichOneof("type")
    value = getattr(element, kind)
    if kind == "alert":
        shown.errors.append(value.body)
    elif kind == "exception":
        shown.crashes.append(value.message)
    elif kind == "markdown":
        shown.texts.append(value.body)
    elif kind == "bidi_component":
        shown.views = json.loads(value.json)["views"]
    elif hasattr(value, "id"):
        shown.widgets[kind] = value.id


def plain(text: str) -> str:
    """Markdown without the signs that make names of files be shown as they are (page.words.plain)."""
    return re.sub(r"\\(.)", r"\1", text)
