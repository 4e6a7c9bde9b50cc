"""Servers on this machine's loopback address: started, waited for, watched, ended."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

PATIENCE_S = 400  # until it answers; on a machine that does much else
SAMPLE_S = 0.1  # between two looks at its memory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


class Memory:
    """Of a process and those that it started, in bytes: what is resident, watched while the block lasts."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.before = self.highest = self.now()

    def now(self) -> int:
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def __enter__(self) -> "Memory":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.highest = max(self.highest, self.now())


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    raise RuntimeError(f"no server at {address}: {log.read_text(errors='replace')[-3000:]}")
