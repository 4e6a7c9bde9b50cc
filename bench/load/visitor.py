"""A visitor of the web page without a browser, using Streamlit's protocol: protobuf messages over a web socket, and
files over HTTP."""

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
OWN = "Your own"  # the page's option to upload an image


class RefusedError(Exception):
    """The server rejected an upload: its HTTP status, or 0 if it closed the connection."""


@dataclass
class Shown:
    """Contents of the page after a run of its script."""

    texts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)  # uncaught exceptions
    views: list[dict[str, Any]] = field(default_factory=list)  # of the slider, see denoiselab.app.web.views
    widgets: dict[str, str] = field(default_factory=dict)  # id of the first widget, by kind
    raw: bytearray = field(default_factory=bytearray)  # all bytes that the server sent


class Visitor:
    """One browser tab. TimeoutError if the server does not answer within `timeout_s` seconds; ConnectionError if the
    connection breaks."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._address = address
        self._states: dict[str, WidgetState] = {}
        self._uploaded = ""
        self._http = requests.Session()
        self._http.headers["Connection"] = "close"  # the server closes idle connections
        self._http.get(f"{address}/_stcore/health", timeout=timeout_s).raise_for_status()
        self._token = str(self._http.cookies[COOKIE])
        self._socket = connect(
            f"ws://{urlsplit(address).netloc}/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            additional_headers={"Cookie": f"{COOKIE}={self._token}", "Origin": address},
            max_size=None,
            open_timeout=timeout_s,
        )
        self._session = ""

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Shown:
        """Open the page, which first shows a sample."""
        return self._run()

    def choose_own(self, shown: Shown) -> Shown:
        """Switch to uploading an image; returns the page with the file uploader."""
        self._set(WidgetState(id=shown.widgets["radio"], string_value=OWN))
        return self._run()

    def upload(self, shown: Shown, name: str, file: bytes) -> None:
        """Upload a file in place of the previous one. RefusedError if the server rejects it."""
        if self._uploaded:
            self._http.delete(self._uploaded, headers={HEADER: self._token}, timeout=self._timeout_s)
        urls = self._place(name)
        self._uploaded = f"{self._address}{urls.delete_url}"
        try:
            answer = self._http.put(
                f"{self._address}{urls.upload_url}",
                files={"file": (name, file)},
                headers={HEADER: self._token},
                timeout=self._timeout_s,
            )
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):  # closed during the upload
            raise RefusedError(0) from None
        if not answer.ok:
            raise RefusedError(answer.status_code)
        info = UploadedFileInfo(name=name, size=len(file), file_id=urls.file_id, file_urls=urls)
        state = FileUploaderState(uploaded_file_info=[info])
        self._set(WidgetState(id=shown.widgets["file_uploader"], file_uploader_state_value=state))

    def look(self) -> Shown:
        """Run the page with the uploaded file."""
        return self._run()

    def ask(self) -> None:
        """Like `look`, without waiting for the answer."""
        message = BackMsg()
        message.rerun_script.widget_states.widgets.extend(self._states.values())
        self._send(message)

    def close(self) -> None:
        self._socket.close()
        self._http.close()

    def _set(self, state: WidgetState) -> None:
        self._states[state.id] = state

    def _place(self, name: str) -> Any:
        """Ask for the URLs of an upload (FileURLs)."""
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
            raise ConnectionError(f"the page closed the connection: {error}") from None

    def _answers(self, raw: bytearray | None = None) -> Iterator[ForwardMsg]:
        until = time.monotonic() + self._timeout_s
        while True:
            try:
                data = self._socket.recv(timeout=max(0.0, until - time.monotonic()))
            except ConnectionClosed as error:
                raise ConnectionError(f"the page closed the connection: {error}") from None
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
        shown.widgets.setdefault(kind, value.id)


def plain(text: str) -> str:
    """Remove Markdown escapes, such as those of denoiselab.app.web.texts.plain."""
    return re.sub(r"\\(.)", r"\1", text)
