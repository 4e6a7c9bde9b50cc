"""Files that are either whole or not there, and their hashes."""

import csv
import errno
import hashlib
import json
import os
import socket
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from denoiselab.runtime.errors import UserError

HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"  # in the names of temporary files
CLOCKS_S = 3600  # by which the clock of a network disk, or a clock that was set, may differ
ABANDONED_S = 24 * 3600  # after which another machine's temporary file is nobody's any more


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`.

    After a power loss `path` is the old file or the whole new one, and once this has returned the new one: first the
    data are flushed to the disk, then the folder, where the name is.
    """
    make_folder(path.parent)
    _sweep(path.parent)
    temporary = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.tmp")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """The folder and those above it that are missing, flushed to the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        flush(path.parent)


def flush(path: Path) -> None:
    """Bring a file's data, or the names in a folder, to the disk: only then do they outlive a power loss."""
    if path.is_dir() and sys.platform == "win32":  # opens no folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # some network disks flush no folders
            raise
    finally:
        os.close(handle)


@cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; looked for once a process."""
    for left in folder.glob(".*.*.*.tmp"):
        *_, host, process = left.stem.split(".")
        if process.isdigit() and _abandoned(left, host, int(process)):
            with suppress(OSError):  # another user's, or another process was quicker
                left.unlink()


def _abandoned(left: Path, host: str, process: int) -> bool:
    """Whether its writer is gone. A process that began after the last write only has the writer's number again."""
    try:
        written = left.stat().st_mtime
        if host == HOST:
            return psutil.Process(process).create_time() > written + CLOCKS_S
        return time.time() - written > ABANDONED_S
    except psutil.NoSuchProcess:
        return True
    except (FileNotFoundError, psutil.AccessDenied):
        return False


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """ValueError names a file that is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def write_csv(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A row a mapping; columns that a row lacks stay empty."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """The rows as texts. ValueError names a file that is missing or no CSV."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            yield from csv.DictReader(handle)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_columns(path: Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """The rows as texts, but of these columns alone: several times as fast. ValueError names a file that is missing, or
    that lacks one of them."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = csv.reader(handle)
            header = next(rows, [])
            places = [header.index(column) for column in columns]
            yield from (tuple(row[place] for place in places) for row in rows)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a folder: of its files' relative names and digests in sorted order."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
