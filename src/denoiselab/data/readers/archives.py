"""Safe unpacking of untrusted zip and tar archives: checked completely before anything is written, all or nothing."""

import bz2
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line

MEMBERS = 1_000_000  # maximum number
NAME = 1024  # maximum length of a member's name
DEPTH = 64  # maximum depth of nested folders
CHUNK = 1 << 16  # bytes read at once; tar headers are shorter
HEADERS = 1 << 13  # bytes allowed in a tar for a member's headers and padding ...
SLACK = 1 << 20  # ... and for everything else
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
FAULTS = (
    *(ArithmeticError, AssertionError, EOFError, LookupError, MemoryError, OSError, RuntimeError, ValueError),
    *(struct.error, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile),
)  # exceptions of the standard library for damaged archives


class _RefusedError(Exception):
    """The archive is rejected; the text is the reason."""


@dataclass
class _Census:
    """Members accepted so far; rejects duplicate names, files that are also folders, and too many members or bytes."""

    limit: int  # bytes
    count: int = 0
    size: int = 0  # bytes
    tree: dict[str, Any] = field(default_factory=dict)  # name to a subfolder's tree, or to None for a file

    def admit(self, name: str, size: int, *, folder: bool) -> str:
        """Check a member; returns its normalised relative path. _RefusedError if it is rejected."""
        self.count += 1
        self.size += size
        if self.count > MEMBERS:
            raise _RefusedError(f"more than {MEMBERS} members")
        if size < 0:
            raise _refused(name, "a negative size")
        if self.size > self.limit:
            raise _refused(name, f"the files so far have {self.size} bytes, more than the limit of {self.limit}")
        parts = _parts(name)
        if not parts and not folder:
            raise _refused(name, "no file name")
        node = self.tree
        for part in parts[: len(parts) - (not folder)]:
            node = node.setdefault(part, {})
            if node is None:
                raise _refused(name, "a file and a folder of the same name")
        if not folder:
            if parts[-1] in node:
                raise _refused(name, "the name occurs twice")
            node[parts[-1]] = None
        return "/".join(parts)


def unpack(archive: Path, out: Path, *, limit: int, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Unpack a zip or tar (plain, gz, bz2, xz; detected by content) into the new folder `out`, all or nothing.

    Every member is checked; only files whose path in the archive ('a/b.png') is `wanted` are written. UserError names
    the archive and the reason: not an archive, damaged, more than `limit` bytes in total, a member that is a link, a
    device, encrypted, a duplicate or outside `out`; or `out` exists.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"{archive}: cannot be unpacked: {out} already exists")
    temporary = None
    try:
        with archive.open("rb") as handle:
            is_zip = handle.read(4) in (b"PK\3\4", b"PK\5\6")
        members = _zip_members if is_zip else _tar_members
        for _ in members(archive, _Census(limit)):
            pass
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
        temporary.chmod(0o755)
        for path, size, source in members(archive, _Census(limit)):  # checked again: the file may have changed
            if wanted(path):
                _write(source, size, temporary, path)
        temporary.rename(out)
    except _RefusedError as error:
        raise UserError(f"{archive}: {error}") from None
    except OSError as error:
        raise UserError(f"{archive}: cannot be unpacked to {out}: {error.strerror or error}") from None
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


Member = tuple[str, int, Callable[[], IO[bytes]]]  # of a file: path, size in bytes, function that opens it


def _zip_members(archive: Path, census: _Census) -> Iterator[Member]:
    with _damage():
        container = zipfile.ZipFile(archive)
    with container:
        files = [(_admit_zip(info, census), info) for info in container.infolist()]
        if not files:
            raise _RefusedError("an empty archive")
        for path, info in files:
            if not info.is_dir():
                yield path, info.file_size, lambda info=info: container.open(info)  # type: ignore[misc]


def _admit_zip(info: zipfile.ZipInfo, census: _Census) -> str:
    if not info.filename:  # zipfile cannot tell whether it is a folder
        raise _refused(info.filename, "no file name")
    _parts(info.orig_filename)  # zipfile truncates `filename` at a NUL
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(info.filename, _kind(link=stat.S_ISLNK(mode)))
    if info.flag_bits & 0x2041:
        raise _refused(info.filename, "encrypted")
    if info.compress_type not in ZIP_METHODS:
        raise _refused(info.filename, f"compression method {info.compress_type} is not supported")
    return census.admit(info.filename, info.file_size, folder=info.is_dir())


def _tar_members(archive: Path, census: _Census) -> Iterator[Member]:
    with archive.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        stream = _Stream(_decompressed(magic, raw))
        try:
            tar = tarfile.TarFile(fileobj=cast(IO[bytes], stream), encoding="utf-8", errors="surrogateescape")
        except FAULTS:
            raise _RefusedError("not a zip or tar archive") from None
        while True:
            with _damage():
                info = tar.next()
            if info is None:
                break
            if info.sparse is not None or not (info.isreg() or info.isdir()):
                raise _refused(info.name, _kind(link=info.issym() or info.islnk()))
            path = census.admit(info.name, info.size, folder=info.isdir())
            stream.allowed = census.size + census.count * HEADERS + SLACK
            if info.isreg():
                yield path, info.size, lambda info=info: cast(IO[bytes], tar.extractfile(info))  # type: ignore[misc]
            tar.members.clear()  # type: ignore[attr-defined]
        if not census.count:
            raise _RefusedError("not a zip or tar archive")
        if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile mistakes a bad header for the end
            raise _RefusedError("damaged archive: truncated, or a header is damaged")
        while stream.read(CHUNK):  # up to the checksum at the end
            pass


def _decompressed(magic: bytes, raw: IO[bytes]) -> IO[bytes]:
    if magic[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if magic[:3] == b"BZh":
        return cast(IO[bytes], bz2.BZ2File(raw))
    if magic == b"\xfd7zXZ\0":
        return cast(IO[bytes], lzma.LZMAFile(raw))
    return raw


class _Stream:
    """Forward-only stream of a tar, limited to the bytes that its members have declared so far."""

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle = handle
        self.position = 0
        self.allowed = SLACK
        self.last = b""  # the bytes read last

    def tell(self) -> int:
        return self.position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise _RefusedError("damaged archive: a header has a wrong size")
        if self.position > self.allowed:
            raise _RefusedError("damaged archive: more data than its members declare")
        with _damage():
            self.last = self.handle.read(size)
        self.position += len(self.last)
        return self.last

    def seek(self, position: int) -> None:
        if position < self.position:
            raise _RefusedError("damaged archive: members overlap")
        while position > self.position and self.read(min(CHUNK, position - self.position)):
            pass


def _write(opener: Callable[[], IO[bytes]], size: int, out: Path, path: str) -> None:
    target = out / path
    _make_folder(target.parent)
    with target.open("xb") as sink:
        with _damage():
            source = opener()
        with source:
            while True:
                with _damage():
                    data = source.read(CHUNK)
                if not data:
                    break
                size -= len(data)
                if size < 0:
                    raise _refused(path, "more bytes than declared")
                sink.write(data)
    if size:
        raise _refused(path, "fewer bytes than declared")
    target.chmod(0o644)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _parts(name: str) -> list[str]:
    """Components of a member's name. _RefusedError if it is not a plain relative path."""
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        raise _refused(name, "a control character in the name")
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise _refused(name, "an absolute path or a Windows path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _refused(name, "'..' in the path")
    if len(name) > NAME or len(parts) > DEPTH:
        raise _refused(name, "the name is too long")
    return parts


def _kind(*, link: bool) -> str:
    return "a link" if link else "neither a file nor a folder"


def _refused(name: str, reason: str) -> _RefusedError:
    shown = name if len(name) <= 80 else f"{name[:60]}…{name[-19:]}"
    return _RefusedError(f"member {shown!r}: {reason}")


@contextmanager
def _damage() -> Iterator[None]:
    """Convert exceptions of the standard library for damaged archives into _RefusedError."""
    try:
        yield
    except FAULTS as error:
        reason = one_line(error)
        raise _RefusedError(f"damaged archive: {reason}") from None
