"""Downloads: mirrors, local files, and a server with every kind of failure."""

import gzip
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from denoiselab.runtime import download
from denoiselab.runtime.errors import UserError

BODY = os.urandom(300_000)
NEWER = os.urandom(200_000)
CUT = 100_000  # bytes after which the server closes the connection


class Handler(BaseHTTPRequestHandler):
    """The first part of the path selects the behaviour; requests are recorded."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.seen.append(self)
        self.turn = sum(other.path == self.path for other in self.server.seen)
        getattr(self, "serve_" + self.path.split("/")[1].partition("?")[0])()

    def log_message(self, *_args: object) -> None:
        pass

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        self.wfile.flush()

    def ranged(self, body: bytes, etag: str, cut: int | None = None) -> None:
        """Correct behaviour: the remaining bytes if If-Range matches, else the whole file."""
        start = self.start() if self.headers.get("If-Range") == etag else 0
        if start:
            where = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.answer(206, body[start:], {"ETag": etag, "Content-Range": where}, cut)
        else:
            self.answer(200, body, {"ETag": etag}, cut)

    def start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-")[6:-1])

    def serve_whole(self) -> None:
        self.answer(200, BODY, {})

    def serve_unsized(self) -> None:
        self.answer(200, BODY, {"Content-Length": ""})

    def serve_declares(self) -> None:
        self.answer(200, BODY, {}, 0)

    def serve_truncates(self) -> None:
        self.ranged(BODY, '"a"', CUT if self.turn <= 2 else None)

    def serve_truncates_always(self) -> None:
        self.answer(200, BODY, {"ETag": '"a"'}, CUT)

    def serve_stalls(self) -> None:
        self.ranged(BODY, '"a"', CUT if self.turn == 1 else None)
        if self.turn == 1:
            self.server.over.wait(5)

    def serve_rangeless(self) -> None:
        self.answer(200, BODY, {"ETag": '"a"'}, CUT if self.turn == 1 else None)

    def serve_weak(self) -> None:
        self.ranged(BODY, 'W/"a"', CUT if self.turn == 1 else None)

    def serve_changes(self) -> None:
        self.ranged(*((BODY, '"a"', CUT) if self.turn == 1 else (NEWER, '"b"')))

    def serve_ignores_if_range(self) -> None:
        if self.turn == 1:
            self.ranged(BODY, '"a"', CUT)
        elif start := self.start():
            where = f"bytes {start}-{len(NEWER) - 1}/{len(NEWER)}"
            self.answer(206, NEWER[start:], {"ETag": '"b"', "Content-Range": where})
        else:
            self.answer(200, NEWER, {"ETag": '"b"'})

    def serve_wrong_range(self) -> None:
        if self.turn == 1:
            self.ranged(BODY, '"a"', CUT)
        elif self.start():
            self.answer(206, BODY[7:], {"ETag": '"a"', "Content-Range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"})
        else:
            self.answer(200, BODY, {"ETag": '"a"'})

    def serve_unsatisfiable(self) -> None:
        if self.turn == 1:
            self.ranged(BODY, '"a"', CUT)
        elif self.start():
            self.answer(416, b"", {"Content-Range": f"bytes */{CUT}"})
        else:
            self.answer(200, BODY, {"ETag": '"a"'})

    def serve_busy(self) -> None:
        self.answer({1: 500, 2: 429}.get(self.turn, 200), BODY if self.turn > 2 else b"later", {})

    def serve_broken(self) -> None:
        self.answer(503, b"", {})

    def serve_status(self) -> None:
        self.answer(int(self.path.split("/")[2]), b"<html>no</html>", {})

    def serve_moved(self) -> None:
        self.answer(302, b"", {"Location": "/truncates/elsewhere"})

    def serve_moved_away(self) -> None:
        self.answer(302, b"", {"Location": "file:///etc/passwd"})

    def serve_circle(self) -> None:
        self.answer(302, b"", {"Location": self.path})

    def serve_encoded(self) -> None:
        self.answer(200, gzip.compress(BODY), {"Content-Encoding": "gzip"})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    seen: list[Handler]
    over: threading.Event

    def handle_error(self, *_args: object) -> None:  # clients that close the connection
        pass

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [request.headers.get("Range") for request in self.seen]


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(download.MIRROR, raising=False)
    server = Server(("127.0.0.1", 0), Handler)
    server.seen, server.over = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def obtain(url: str, tmp_path: Path, **changes) -> Path:
    values = {"sha256": None, "folder": tmp_path / "cache", "root": tmp_path, "timeout": 5, "retries": 2, "wait": 0.01}
    return download.obtain("set", url, **(values | changes))


def refusal(url: str, tmp_path: Path, **changes) -> str:
    """Message of the error: one line that names the URL."""
    with pytest.raises(UserError) as error:
        obtain(url, tmp_path, **changes)
    text = str(error.value)
    assert "\n" not in text and url in text
    return text


def left(tmp_path: Path) -> set[str]:
    return {
        p.name
        for p in (tmp_path / "cache").rglob("*")
        if p.is_file() and not p.name.endswith((".lock", ".source.json"))
    }


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("how", ["whole", "unsized"])
def test_a_file_is_downloaded_once_and_completely(tmp_path, server, how):
    url = server.url(f"{how}/a%20file.zip?key=1#here")
    path = obtain(url, tmp_path, sha256=digest(BODY).upper())
    assert path == tmp_path / "cache" / "set" / "a file.zip"
    assert path.read_bytes() == BODY
    assert left(tmp_path) == {"a file.zip"}
    assert obtain(url, tmp_path, sha256=digest(BODY)) == path
    assert len(server.seen) == 1


def test_a_truncated_download_is_resumed(tmp_path, server):
    path = obtain(server.url("truncates/file"), tmp_path, retries=1)  # progress resets the number of retries
    assert path.read_bytes() == BODY
    assert server.ranges == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert left(tmp_path) == {"file"}


def test_a_stalled_download_is_resumed(tmp_path, server):
    start = time.monotonic()
    assert obtain(server.url("stalls/file"), tmp_path, timeout=0.3).read_bytes() == BODY
    assert time.monotonic() - start < 3
    assert server.ranges == [None, f"bytes={CUT}-"]


def test_an_interrupted_download_is_resumed_in_the_next_run(tmp_path, server):
    url = server.url("truncates/file")
    assert f"{CUT} bytes are kept" in refusal(url, tmp_path, retries=0)
    assert left(tmp_path) == {"file.part", "file.part.json"}
    server.seen *= 2  # the server has failed twice and now sends the rest
    assert obtain(url, tmp_path, retries=0, sha256=digest(BODY)).read_bytes() == BODY
    assert server.ranges[-1] == f"bytes={CUT}-"


def test_a_complete_part_is_not_requested_again(tmp_path, server):
    url = server.url("truncates/file")
    refusal(url, tmp_path, retries=0)
    (tmp_path / "cache" / "set" / "file.part").write_bytes(BODY)
    assert obtain(url, tmp_path).read_bytes() == BODY
    assert len(server.seen) == 1


@pytest.mark.parametrize("note", [None, "{", "[]", '{"url": "http://other/file", "validator": "\\"a\\""}'])
def test_a_part_of_unknown_origin_is_not_used(tmp_path, server, note):
    folder = tmp_path / "cache" / "set"
    folder.mkdir(parents=True)
    (folder / "file.part").write_bytes(b"x" * 10)
    if note:
        (folder / "file.part.json").write_text(note)
    server.seen = []
    path = obtain(server.url("truncates/file"), tmp_path)
    assert path.read_bytes() == BODY
    assert server.ranges[0] is None


@pytest.mark.parametrize("how", ["rangeless", "weak", "wrong_range", "unsatisfiable"])
def test_a_download_that_cannot_be_resumed_restarts(tmp_path, server, how):
    assert obtain(server.url(f"{how}/file"), tmp_path).read_bytes() == BODY
    asked = {"rangeless": [f"bytes={CUT}-"], "weak": [None]}  # a weak ETag does not identify bytes
    assert server.ranges == [None, *asked.get(how, [f"bytes={CUT}-", None])]


@pytest.mark.parametrize("how", ["changes", "ignores_if_range"])
def test_a_changed_file_is_downloaded_again(tmp_path, server, how):
    assert obtain(server.url(f"{how}/file"), tmp_path).read_bytes() == NEWER
    assert server.ranges[1] == f"bytes={CUT}-"
    assert server.seen[1].headers["If-Range"] == '"a"'


def test_retries_without_progress_end(tmp_path, server):
    assert "interrupted after" in refusal(server.url("truncates_always/file"), tmp_path)
    assert len(server.seen) == 3  # reaching the same position again is not progress


def test_a_busy_server_is_retried_with_growing_pauses(tmp_path, server, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(download, "sleep", pauses.append)
    assert obtain(server.url("busy/file"), tmp_path, wait=3).read_bytes() == BODY
    assert pauses == [3, 6]


def test_retries_of_a_failing_server_end(tmp_path, server):
    text = refusal(server.url("broken/file"), tmp_path)
    assert "503" in text and download.MIRROR in text
    assert len(server.seen) == 3


def test_retries_without_a_server_end(tmp_path, server):
    url = server.url("whole/file").replace(str(server.server_address[1]), "1")
    text = refusal(url, tmp_path, retries=1)
    assert "Connection refused" in text and "set/file" in text and len(text) < 300


@pytest.mark.parametrize("status", [403, 404, 410])
def test_client_errors_are_not_retried(tmp_path, server, status):
    text = refusal(server.url(f"status/{status}/file"), tmp_path)
    assert str(status) in text and download.MIRROR in text and "another url" in text
    assert len(server.seen) == 1
    assert left(tmp_path) == set()


def test_redirects_keep_the_range(tmp_path, server):
    path = obtain(server.url("moved/file"), tmp_path)
    assert path.name == "file"
    assert path.read_bytes() == BODY
    assert server.ranges == [None, None, *[f"bytes={CUT}-"] * 2, *[f"bytes={2 * CUT}-"] * 2]


def test_redirects_to_other_schemes_and_in_circles_are_refused(tmp_path, server):
    assert "redirected to 'file:///etc/passwd'" in refusal(server.url("moved_away/file"), tmp_path)
    assert "more than 10 redirects" in refusal(server.url("circle/file"), tmp_path)
    assert left(tmp_path) == set()


def test_encoded_bodies_are_not_decoded(tmp_path, server):
    path = obtain(server.url("encoded/file.gz"), tmp_path)
    assert gzip.decompress(path.read_bytes()) == BODY
    assert server.seen[0].headers["Accept-Encoding"] == "identity"


def test_a_file_with_a_wrong_hash_is_deleted(tmp_path, server):
    text = refusal(server.url("whole/file"), tmp_path, sha256=digest(NEWER))
    assert digest(BODY) in text and digest(NEWER) in text
    assert left(tmp_path) == set()


def test_a_downloaded_file_that_was_changed_is_downloaded_again(tmp_path, server):
    path = obtain(server.url("whole/file"), tmp_path)
    path.write_bytes(b"other")
    assert obtain(server.url("whole/file"), tmp_path, sha256=digest(BODY)).read_bytes() == BODY
    assert len(server.seen) == 2


@pytest.mark.parametrize("damage", [None, b"", b'{"url'])
def test_another_address_with_the_same_file_name_is_downloaded(tmp_path, server, damage):
    for key in ("1", "2", "2"):
        path = obtain(server.url(f"whole/file?version={key}"), tmp_path)
    assert len(server.seen) == 2
    if damage is not None:
        path.with_name("file.source.json").write_bytes(damage)
    assert obtain(server.url("whole/file?version=1"), tmp_path).read_bytes() == BODY
    assert len(server.seen) == 3


def test_a_file_of_the_wanted_hash_is_used_whatever_its_address(tmp_path, server):
    obtain(server.url("whole/file"), tmp_path)
    assert obtain(server.url("whole/file?moved=1"), tmp_path, sha256=digest(BODY)).read_bytes() == BODY
    assert len(server.seen) == 1


@pytest.mark.parametrize("how", ["whole", "unsized"])
def test_too_large_a_file_is_refused(tmp_path, server, how):
    assert "limit of 299999 bytes" in refusal(server.url(f"{how}/file"), tmp_path, limit=len(BODY) - 1)
    assert left(tmp_path) == set()
    assert obtain(server.url(f"{how}/file"), tmp_path, limit=len(BODY)).read_bytes() == BODY


def test_too_large_a_file_is_refused_by_its_declared_size(tmp_path, server):
    assert "limit of 299999 bytes" in refusal(server.url("declares/file"), tmp_path, limit=len(BODY) - 1)


def test_parallel_requests_download_once(tmp_path, server):
    url, paths = server.url("whole/file"), []
    threads = [threading.Thread(target=lambda: paths.append(obtain(url, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / "cache" / "set" / "file"] * 4
    assert len(server.seen) == 1


@pytest.mark.parametrize("relative", [True, False])
def test_the_mirror_has_priority(tmp_path, server, monkeypatch, relative):
    mirrored = tmp_path / "mirror" / "set" / "a file.zip"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(BODY)
    monkeypatch.setenv(download.MIRROR, "mirror" if relative else str(tmp_path / "mirror"))
    url = server.url("status/404/a%20file.zip?key=1")
    assert obtain(url, tmp_path, sha256=digest(BODY)) == mirrored
    assert obtain("a file.zip", tmp_path) == mirrored
    assert server.seen == []
    with pytest.raises(UserError, match=f"mirror/set/a file.zip: sha256 is {digest(BODY)}, expected 00"):
        obtain(url, tmp_path, sha256="00")
    assert mirrored.exists()
    assert obtain(server.url("whole/file"), tmp_path).read_bytes() == BODY  # not in the mirror


def test_local_files_are_used_in_place(tmp_path, monkeypatch):
    monkeypatch.delenv(download.MIRROR, raising=False)
    local = tmp_path / "my sets" / "file#1.zip"
    local.parent.mkdir()
    local.write_bytes(BODY)
    for url in ("my sets/file#1.zip", str(local), local.as_uri()):
        assert obtain(url, tmp_path, sha256=digest(BODY)) == local
    text = refusal("my sets/file#1.zip", tmp_path, sha256=digest(NEWER))
    assert digest(BODY) in text and digest(NEWER) in text
    assert local.read_bytes() == BODY
    assert "no such file" in refusal("my sets/file.zip", tmp_path)
    assert "is not a file" in refusal("my sets", tmp_path)


def test_a_file_name_alone_needs_a_mirror(tmp_path, monkeypatch):
    monkeypatch.delenv(download.MIRROR, raising=False)
    text = refusal("file.zip", tmp_path)
    assert "no public download address" in text and f"{download.MIRROR}=" in text and "set/file.zip" in text


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://127.0.0.1/file.zip", "ftp is not supported; use http, https, file or a path"),
        ("http://127.0.0.1/", "file name"),
        ("http://127.0.0.1/a/%2e%2e", "file name"),
        ("http://127.0.0.1/a/..%2Fb", "file name"),
        ("http://[127.0.0.1/file.zip", "not a URL"),
        ("http:///file.zip", "cannot be downloaded"),
        ("file://elsewhere/file.zip", "another machine"),
    ],
)
def test_invalid_addresses_are_refused(tmp_path, monkeypatch, url, reason):
    monkeypatch.delenv(download.MIRROR, raising=False)
    assert reason in refusal(url, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, server):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="cache/set/file: cannot be read or written: Not a directory"):
        obtain(server.url("whole/file"), tmp_path)
