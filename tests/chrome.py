"""Pages in headless Chromium, driven over the Chrome DevTools Protocol: clicks, uploads and downloads that are real."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.browser import chromium

PATIENCE_S = 120  # seconds: the machine may have other things to do
POLL_S = 0.1


class Chrome:
    """A browser; every page of `page` is a visitor of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """A command's result. RuntimeError where the browser refuses it."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(PATIENCE_S))
            if answer.get("id") != self._number:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def page(self, url: str, width: int = 1440, height: int = 900, downloads: Path | None = None) -> "Page":
        """A new visitor at that address, in a window of that size in CSS pixels; a narrow one is a phone's."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        if downloads:
            where = {"behavior": "allow", "downloadPath": str(downloads), "browserContextId": context}
            self.call("Browser.setDownloadBehavior", **where)
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "DOM"):
            page.call(f"{domain}.enable")
        phone = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        page.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        page.call("Page.navigate", url=url)
        return page


class Page:
    """A page and what a visitor can do with it. Scripts find what they look for with `all(selector)`, which looks
    into shadow roots, too, `one(selector)` and `named(selector, text)`, of which the text is a part."""

    HELPERS = """
      const inside = (e) => e.shadowRoot ? roots(e.shadowRoot) : [];
      const roots = (root) => [root, ...[...root.querySelectorAll("*")].flatMap(inside)];
      const all = (selector) => roots(document).flatMap((root) => [...root.querySelectorAll(selector)]);
      const one = (selector) => all(selector)[0];
      const named = (selector, text) => all(selector).find((e) => e.textContent.includes(text));
    """

    def __init__(self, chrome: Chrome, session: str) -> None:
        self._chrome = chrome
        self._session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._chrome.call(method, self._session, **params)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self._evaluate(expression, returnByValue=True).get("value")

    def wait(self, expression: str, seconds: float = PATIENCE_S) -> None:
        """Until the expression is true. TimeoutError with the page's text where it never is."""
        end = time.monotonic() + seconds
        while not self.run(f"!!({expression})"):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {expression}\n{self.run('document.body.innerText')}")
            time.sleep(POLL_S)

    def place(self, expression: str, share: float = 0.5) -> tuple[float, float]:
        """The middle of the element, or that share of its width, in CSS pixels of the window: scrolled into sight
        and standing still, as what opens or loads above it moves it."""
        self.wait(expression)
        last = None
        while True:
            self.run(f"({expression}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
            box = self.run(f"({expression}).getBoundingClientRect().toJSON()")
            if box == last:
                return box["x"] + share * box["width"], box["y"] + box["height"] / 2
            last = box
            time.sleep(POLL_S)

    def drag(self, expression: str, distance: float, steps: int = 5) -> float:
        """Lay a finger on the element and move it to the right by so many CSS pixels; returns where it ended."""
        x, y = self.place(expression)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for step in range(1, steps + 1):
            point = {"x": x + distance * step / steps, "y": y}
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        return x + distance

    def click(self, expression: str, share: float = 0.5) -> None:
        """Press and release in the middle of the element that the expression gives, or at that share of its width."""
        x, y = self.place(expression, share)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int, times: int = 1) -> None:
        """A key with its virtual key code, for what has the focus."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def write(self, text: str) -> None:
        """For what has the focus."""
        self.call("Input.insertText", text=text)

    def upload(self, expression: str, *files: Path) -> None:
        """Choose files in the file input that the expression gives."""
        self.wait(expression)
        element = self._evaluate(expression)["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=element)

    def picture(self, whole: bool = False) -> bytes:
        """A screenshot as PNG, of the window or all of the page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def requests(self) -> list[str]:
        """The addresses that the page asked for so far."""
        self.run("0")  # reads what the browser has said meanwhile
        events = [event for event in self._chrome.events if event.get("sessionId") == self._session]
        sockets = [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
        return sockets + [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def errors(self) -> list[str]:
        """What the page threw and nothing caught."""
        self.run("0")
        events = [event for event in self._chrome.events if event.get("sessionId") == self._session]
        return [json.dumps(e["params"]) for e in events if e["method"] == "Runtime.exceptionThrown"]

    def _evaluate(self, expression: str, **options: Any) -> dict[str, Any]:
        wrapped = f"(() => {{ {self.HELPERS} return {expression}; }})()"
        answer = self.call("Runtime.evaluate", expression=wrapped, **options)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"]


@contextmanager
def chrome(profile: Path) -> Iterator[Chrome]:
    """A browser that ends with the block; `profile` is an empty folder for it."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
    options += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    options += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen([chromium(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            address = _address(profile / "DevToolsActivePort", process)
            with connect(address, max_size=None, ping_interval=None, close_timeout=1) as socket:
                yield Chrome(socket)
        finally:
            process.terminate()


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end:
        if file.is_file() and len(lines := file.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(POLL_S)
    raise TimeoutError("Chromium does not answer")
