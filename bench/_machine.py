"""Description of the machine that a benchmark ran on."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from bench._project import ROOT


def describe() -> dict[str, str]:
    """Hardware, software versions, commit, date and load, by name."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "GPU": ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))) or "none",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load before": f"{os.getloadavg()[0]:.1f} running processes",
    }


def name(machine: dict[str, str]) -> str:
    """File name for a machine: its GPU, or else its processor and number of cores."""
    words = machine["GPU"] if machine["GPU"] != "none" else f"{machine['processor']} {machine['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", words.lower().replace("(r)", "").replace("(tm)", "")).strip("-")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text(encoding="utf-8")) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _commit() -> str:
    """Abbreviated hash of HEAD; "unknown" outside a Git repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
