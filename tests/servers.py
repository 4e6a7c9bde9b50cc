"""Servers on this machine's loopback address, for tests: started, waited for, ended."""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

PATIENCE_S = 400  # until it answers; on a machine that does much else


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def documented(page: Path, begin: str, **values: str) -> list[str]:
    """The command in `page` that begins so, with other values of some options (`some_name`: that of --some-name)."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    words = shlex.split(next(line for line in text.splitlines() if line.startswith(begin)))
    for option, value in values.items():
        words[words.index(f"--{option.replace('_', '-')}") + 1] = value
    return [sys.executable, "-m", *words]


@contextmanager
def running(command: list[str], address: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """While it lasts, the server that `command` starts, from when it answers at `address`; its output is in `log`.

    It ends with all processes that it started.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True
        )
        try:
            _wait(process, address, log)
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    raise RuntimeError(f"no server at {address}: {log.read_text(errors='replace')[-3000:]}")
