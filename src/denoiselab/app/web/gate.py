"""The gate before the page: asks for the token, refuses other sites' scripts, and bounds what a visitor uploads before
anything of it is read."""

import asyncio
import hmac
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit.runtime import get_instance
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from denoiselab.app.web.limits import Limits
from denoiselab.runtime.sanitize import one_line

COOKIE = "denoiselab_token"
UPLOAD = re.compile(r"/_stcore/upload_file/(?P<session>[^/]+)/(?P<file>[^/]+)")  # Streamlit's route
DIGITS = 20  # of a length, at most
PAUSE_S, UPLOAD_S = 30, 600  # longest pause of an upload, and its whole length
NO_TOKEN = "Open the whole address that `denoiselab serve` printed: its token is missing or wrong."
FOREIGN = "refused a connection of %s to %s: not the same host; a reverse proxy has to pass the Host header on"
TOO_MANY = "Too many images. Remove some, or come back later."
TOO_SLOW = "The upload took too long."

log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware. With an empty `token`, everybody may come in.

    The token comes in the address (?token=...) once, and in a cookie afterwards.
    """

    def __init__(self, app: ASGIApp, token: str, allowed: Limits) -> None:
        self.app, self.token, self.allowed = app, token, allowed
        self.coming: dict[str, list[int]] = defaultdict(list)  # bytes of the uploads under way, by session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        visitor = HTTPConnection(scope)
        if not self._is_token(visitor.cookies.get(COOKIE)):
            return await self._at_the_door(visitor, scope, receive, send)
        if scope["type"] == "websocket" and _is_foreign(visitor):
            return await WebSocketClose(code=1008)(scope, receive, send)
        upload = UPLOAD.fullmatch(scope["path"])
        if scope.get("method") != "PUT" or upload is None:
            return await self.app(scope, receive, send)
        with self._room(upload["session"], visitor.headers.get("content-length", "")) as room:
            if room:
                await self.app(scope, _in_time(receive), send)
            else:
                await PlainTextResponse(TOO_MANY, status_code=429)(scope, receive, send)

    def _is_token(self, given: str | None) -> bool:
        return not self.token or hmac.compare_digest((given or "").encode(), self.token.encode())

    async def _at_the_door(self, visitor: HTTPConnection, scope: Scope, receive: Receive, send: Send) -> None:
        """Exchange a token in the address for a cookie; else refuse."""
        if scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason=NO_TOKEN)(scope, receive, send)
        elif self._is_token(visitor.query_params.get("token")):
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="lax")
            await answer(scope, receive, send)
        else:
            await PlainTextResponse(NO_TOKEN, status_code=401)(scope, receive, send)

    @contextmanager
    def _room(self, session: str, length: str) -> Iterator[bool]:
        """Whether a file of `length` bytes may come; if so, it counts as stored meanwhile."""
        size = int(length[:DIGITS]) if length.isdecimal() else self.allowed.bytes
        manager = get_instance().uploaded_file_mgr
        assert isinstance(manager, MemoryUploadedFileManager)
        stored = {name: [len(file.data) for file in files.values()] for name, files in [*manager.file_storage.items()]}
        own = stored.get(session, []) + self.coming.get(session, [])
        everybody = sum(map(sum, stored.values())) + sum(map(sum, self.coming.values()))
        if not self.allowed.has_room(len(own), sum(own) + size, everybody + size):
            yield False
            return
        self.coming[session].append(size)
        try:
            yield True
        finally:
            self.coming[session].remove(size)
            if not self.coming[session]:
                del self.coming[session]


def _is_foreign(visitor: HTTPConnection) -> bool:
    """Whether another site's script connects. (Streamlit would ask a server for this machine's public address.)"""
    origin, host = visitor.headers.get("origin"), visitor.headers.get("host")
    if origin is None or urlsplit(origin).netloc == host:
        return False
    log.warning(FOREIGN, one_line(origin), one_line(str(host)))
    return True


def _in_time(receive: Receive) -> Receive:
    """`receive`, which raises status 408 if the client pauses or takes too long."""
    end = asyncio.get_running_loop().time() + UPLOAD_S

    async def receive_in_time() -> Message:
        left = end - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(PAUSE_S, left)):
                return await receive()
        except TimeoutError:
            raise HTTPException(408, TOO_SLOW) from None

    return receive_in_time
