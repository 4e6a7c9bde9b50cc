"""Files by URL, from a mirror, the disk or the network: resumable downloads, verified by SHA-256 and size.

A download is written to <file>.part beside its target; <file>.part.json holds its URL, validator (ETag or date) and
length, so that a later attempt, in this or the next run, requests only the missing bytes. <file>.source.json holds the
URL of a finished one: another address with the same file name is downloaded again.
"""

import os
import re
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from time import sleep
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests
from filelock import FileLock
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from denoiselab.runtime import files, progress
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

MIRROR = "DENOISELAB_MIRROR"
CHUNK = 1 << 16  # bytes
REDIRECTS = 10
LONGEST_WAIT = 60.0  # seconds


class _RetryError(Exception):
    """A temporary failure, to be retried; its text is the reason."""


@dataclass(frozen=True)
class _Job:
    label: str  # <name>/<file>, the path in a mirror
    url: str
    target: Path
    timeout: float  # seconds without data
    limit: int | None  # bytes

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    @property
    def source(self) -> Path:
        return self.target.with_name(f"{self.target.name}.source.json")

    @property
    def advice(self) -> str:
        return f"put the file at <folder>/{self.label} and set {MIRROR}=<folder>, or set another url"

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def check_size(self, size: int | None) -> None:
        """UserError, after deleting the partial download, if `size` bytes are more than the limit."""
        if self.limit is not None and size is not None and size > self.limit:
            self.discard()
            raise UserError(f"{self.url}: is larger than the limit of {self.limit} bytes")


def obtain(
    name: str,
    url: str,
    *,
    sha256: str | None,
    folder: Path,
    root: Path,
    timeout: float = 30,
    retries: int = 5,
    wait: float = 1.0,
    limit: int | None = None,
) -> Path:
    """Local path of the file at `url` (http, https, file, or a path), downloaded if necessary.

    The first that exists of: <DENOISELAB_MIRROR>/<name>/<file>, the path itself, `folder`/<name>/<file> with this
    SHA-256 or, without one, from this address; otherwise downloaded to the last. <file> is the last part of the URL's
    path; relative paths start at `root`. `timeout` and `wait` are in seconds, `limit` in bytes; `retries`: attempts in
    a row without progress, after pauses of `wait`, 2 `wait`, ... UserError names the file or URL and the reason:
    missing, cannot be downloaded, larger than `limit`, or another SHA-256 than `sha256` (hex; None: not checked).
    """
    scheme, path, file = _split(url)
    if file in ("", ".", "..") or re.search(r"[/\\\x00-\x1f]", file):
        raise UserError(f"{url}: its path does not end in a file name")
    existing = _mirrored(name, file, root)
    if existing is None and scheme in ("", "file"):
        existing = _local(name, url, path, root)
    if existing is not None:
        _verify(existing, str(existing), sha256)
        return existing
    if scheme not in ("http", "https"):
        raise UserError(f"{url}: {scheme} is not supported; use http, https, file or a path")
    job = _Job(f"{name}/{file}", url, folder / name / file, timeout, limit)
    try:
        if not _is_there(job, sha256):
            job.target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{job.target}.lock"):
                if not _is_there(job, sha256):
                    _download(job, sha256, retries, wait)
    except OSError as error:
        raise UserError(f"{job.target}: cannot be read or written: {_reason(error)}") from None
    return job.target


def _split(url: str) -> tuple[str, str, str]:
    """Scheme, path and file name of a URL, unquoted; the scheme of a plain path is ""."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UserError(f"{url}: not a URL: {error}") from None
    if len(parts.scheme) < 2:
        return "", url, PurePosixPath(url).name
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise UserError(f"{url}: a file URL on another machine is not supported; use file:///path")
    return parts.scheme, unquote(parts.path), unquote(PurePosixPath(parts.path).name)


def _mirrored(name: str, file: str, root: Path) -> Path | None:
    mirror = os.environ.get(MIRROR)
    path = root / Path(mirror).expanduser() / name / file if mirror else None
    return path if path and path.is_file() else None


def _local(name: str, url: str, path: str, root: Path) -> Path:
    file = root / Path(path).expanduser()
    if file.is_file():
        return file
    if file.exists():
        raise UserError(f"{file}: is not a file")
    if url == PurePosixPath(path).name:
        raise UserError(
            f"{url}: {name} has no public download address; put the file at <folder>/{name}/{url} "
            f"and set {MIRROR}=<folder>, or set url to the file's path"
        )
    raise UserError(f"{file}: no such file")


def _is_there(job: _Job, sha256: str | None) -> bool:
    """Whether the file has been downloaded: with this SHA-256 or, if there is none, from this address."""
    if not job.target.is_file():
        return False
    if sha256 is not None:
        return files.sha256(job.target) == sha256.strip().lower()
    try:
        return not job.source.is_file() or files.read_json(job.source) == {"url": job.url}
    except UserError:  # damaged
        return False


def _verify(path: Path, shown: str, sha256: str | None, *, downloaded: bool = False) -> None:
    if sha256 is None:
        return
    try:
        actual = files.sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {_reason(error)}") from None
    if actual != sha256.strip().lower():
        if downloaded:
            path.unlink(missing_ok=True)
        end = "; the downloaded file was deleted" if downloaded else ""
        raise UserError(f"{shown}: sha256 is {actual}, expected {sha256}{end}")


def _download(job: _Job, sha256: str | None, retries: int, wait: float) -> None:
    most = _size(job.part)
    failures = 0
    with requests.Session() as session:
        while True:
            try:
                _transfer(session, job)
                break
            except _RetryError as error:
                size = _size(job.part)
                failures = 1 if size > most else failures + 1
                most = max(most, size)
                if failures > retries:
                    kept = f"; the first {size} bytes are kept, the next run continues from there" if size else ""
                    raise UserError(f"{job.url}: cannot be downloaded: {error}{kept}; {job.advice}") from None
            sleep(min(wait * 2 ** (failures - 1), LONGEST_WAIT))
    try:
        _verify(job.part, job.url, sha256, downloaded=True)
    except ValueError:
        job.discard()
        raise
    files.flush(job.part)
    job.target.unlink(missing_ok=True)  # first: an old file must not be paired with a new note
    files.write_json(job.source, {"url": job.url})
    job.part.replace(job.target)
    files.flush(job.target.parent)
    job.note.unlink(missing_ok=True)


def _transfer(session: requests.Session, job: _Job) -> None:
    """Complete job.part, resuming if the server supports it. _RetryError if it stays incomplete."""
    have, note = _resumable(job)
    job.check_size(have)
    if have and have == note["length"]:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": note["validator"]} if have else {}
    with _get(session, job, headers) as response:
        if have and not _continues(response, have, note):
            have = 0
            if response.status_code != 200:
                job.discard()
                response.close()
                return _transfer(session, job)
        length = _length(response, have, note)
        job.check_size(length)
        if not have:
            job.part.unlink(missing_ok=True)  # first: an old part must not be paired with a new note
            files.write_json(job.note, {"url": job.url, "validator": _validator(response), "length": length})
        _store(response, job, have, length)


def _resumable(job: _Job) -> tuple[int, dict[str, Any]]:
    """Number of bytes to resume from and their note; 0 if they cannot be trusted."""
    have = _size(job.part)
    try:
        note = files.read_json(job.note) if have else {}
    except ValueError:
        return 0, {}
    if not isinstance(note, dict) or note.get("url") != job.url or not isinstance(note.get("validator"), str):
        return 0, {}
    length = note.get("length")
    return (0 if isinstance(length, int) and have > length else have), note | {"length": length}


def _get(session: requests.Session, job: _Job, headers: dict[str, str]) -> requests.Response:
    """The response with status 200, 206 or 416, body not yet read. _RetryError or UserError for any other."""
    url = job.url
    headers = headers | {"Accept-Encoding": "identity", "User-Agent": "denoiselab"}
    for _ in range(REDIRECTS + 1):
        try:
            response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=job.timeout)
            target = session.get_redirect_target(response)
        except (requests.RequestException, HTTPError) as error:
            if isinstance(error, ValueError):  # an invalid URL
                raise UserError(f"{job.url}: cannot be downloaded: {_reason(error)}") from None
            raise _RetryError(_reason(error)) from None
        if target is None:
            status = response.status_code
            if status in (200, 206) or (status == 416 and "Range" in headers):
                return response
            response.close()
            reason = f"the server answered {status} {response.reason or ''}".rstrip()
            if status in (408, 429) or status >= 500:
                raise _RetryError(reason)
            raise UserError(f"{job.url}: cannot be downloaded: {reason}; {job.advice}")
        response.close()
        url = _redirected(job, url, target)
    raise UserError(f"{job.url}: cannot be downloaded: more than {REDIRECTS} redirects; {job.advice}")


def _redirected(job: _Job, url: str, target: str) -> str:
    try:
        url = urljoin(url, target)
        scheme = urlsplit(url).scheme
    except ValueError:
        url, scheme = target, ""
    if scheme not in ("http", "https"):
        raise UserError(f"{job.url}: redirected to {url!r}, which is neither http nor https; {job.advice}")
    return url


def _continues(response: requests.Response, have: int, note: dict[str, Any]) -> bool:
    """Whether the body continues the same file at byte `have`; a server may ignore If-Range."""
    start, total = _content_range(response)
    same = _validator(response) in (None, note["validator"]) and (not total or note["length"] in (None, total))
    return response.status_code == 206 and start == have and same


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not match:
        return None, None
    return int(match[1]), int(match[2]) if match[2] != "*" else None


def _validator(response: requests.Response) -> str | None:
    """Value for If-Range: a strong ETag, else the Last-Modified date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _length(response: requests.Response, have: int, note: dict[str, Any]) -> int | None:
    """Size of the whole file in bytes, or None if unknown. _RetryError for a range that was not requested."""
    body = response.headers.get("Content-Length", "")
    if response.status_code == 206:
        start, total = _content_range(response)
        if start != have:
            raise _RetryError("the server sent another range than requested")
        return total or note.get("length") or (have + int(body) if body.isdecimal() else None)
    return int(body) if body.isdecimal() else None


def _store(response: requests.Response, job: _Job, have: int, length: int | None) -> None:
    shown = {"unit": "B", "unit_scale": True, "disable": progress.hidden(), "dynamic_ncols": True}
    bar = tqdm(desc=job.label, initial=have, total=length, **shown)
    with job.part.open("ab") as out, bar:
        while True:
            try:  # read1 returns the bytes received so far, even if the rest of a chunk never arrives
                data = response.raw.read1(CHUNK, decode_content=False)
            except (HTTPError, HTTPException, requests.RequestException) as error:
                raise _RetryError(f"interrupted after {have} of {length or '?'} bytes: {_reason(error)}") from None
            if not data:
                break
            have += len(data)
            job.check_size(have)
            out.write(data)
            bar.update(len(data))
    if length is not None and have != length:
        raise _RetryError(f"interrupted after {have} of {length} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line: requests and urllib3 wrap errors several times."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return one_line(error, 500)
