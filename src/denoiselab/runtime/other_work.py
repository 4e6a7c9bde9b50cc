"""CPU time that other processes use: a measurement beside other work is slower than on a quiet machine."""

import time
from typing import Any

import psutil


class Watch:
    """Watches the machine from now on."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.perf_counter(), _busy(), _own()

    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def load(self) -> dict[str, Any]:
        """`other_cores`: mean number of cores that other processes have used since; `cores`: of the machine."""
        others = (_busy() - self._busy - (_own() - self._own)) / max(self.seconds(), 1e-9)
        return {"other_cores": round(max(others, 0), 2), "cores": psutil.cpu_count()}


def _busy() -> float:
    """CPU seconds of all processes since the machine started."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, kind, 0) for kind in ("user", "nice", "system", "irq", "softirq")))


def _own() -> float:
    """CPU seconds of this process and its children."""
    total = 0.0
    for process in (here := psutil.Process(), *here.children(recursive=True)):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total


_SINCE_START = Watch()  # of this process, that is, of the stage


def since_start(seconds: float) -> dict[str, Any]:
    """The load since this process started, during work that took `seconds`; empty if that began in an earlier one."""
    return _SINCE_START.load() if seconds <= _SINCE_START.seconds() else {}
