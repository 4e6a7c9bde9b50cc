"""Atomic, durable file writes (text, JSON, CSV), reading with one-line errors, and SHA-256."""

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
LONGEST_NAME = 200  # bytes, of the 255 that most file systems allow
CLOCK_SKEW_S = 3600  # between this clock and that of a network disk, or after a clock was set
ABANDONED_S = 24 * 3600  # age of another machine's temporary file after which it may be deleted


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success, rename it to `path` (atomic replacement).

    Survives a power loss: `path` is the complete old or new file, and the new one once this has returned. The data are
    flushed to disk before the rename, the folder after it.
    """
    make_folder(path.parent)
    _sweep(path.parent)
    temporary = path.with_name(f".{_short(path.name)}.{HOST}.{os.getpid()}.tmp")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _short(name: str) -> str:
    """The name, or a hash of it if the temporary name would be longer than file systems allow."""
    return name if len(os.fsencode(name)) <= LONGEST_NAME else hashlib.sha256(os.fsencode(name)).hexdigest()


def make_folder(path: Path) -> None:
    """Create the folder and its missing parents, flushed to disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        flush(path.parent)


def flush(path: Path) -> None:
    """Flush a file's data, or a folder's entries, to disk (fsync), so that they survive a power loss."""
    if path.is_dir() and sys.platform == "win32":  # cannot open folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # unsupported on some network disks
            raise
    finally:
        os.close(handle)


@cache
def _sweep(folder: Path) -> None:
    """Delete temporary files left by killed processes; once for each folder and process."""
    for temporary in folder.glob(".*.*.*.tmp"):
        *_, host, process = temporary.stem.split(".")
        if process.isdigit() and _abandoned(temporary, host, int(process)):
            with suppress(OSError):  # another user's file, or another process was quicker
                temporary.unlink()


def _abandoned(temporary: Path, host: str, process: int) -> bool:
    """Whether the writer has ended. A process that started after the last write merely reuses its process id."""
    try:
        written = temporary.stat().st_mtime
        if host == HOST:
            return psutil.Process(process).create_time() > written + CLOCK_SKEW_S
        return time.time() - written > ABANDONED_S
    except psutil.NoSuchProcess:
        return True
    except (FileNotFoundError, psutil.AccessDenied):
        return False


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Content of a JSON file. UserError if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def write_csv(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one line for each mapping; missing columns stay empty."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """Rows as strings by column. UserError if the file is missing or not CSV."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            yield from csv.DictReader(handle)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_columns(path: Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """These columns of every row, as strings: several times as fast as `read_csv`. UserError if the file or a column is
    missing."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = csv.reader(handle)
            header = next(rows, [])
            indices = [header.index(column) for column in columns]
            yield from (tuple(row[index] for index in indices) for row in rows)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, or of a folder (relative names and digests of its files, sorted)."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
