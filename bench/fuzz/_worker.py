"""Fuzzes one target with atheris (libFuzzer) in its own process; records findings and continues.

python -m bench.fuzz._worker TARGET FOLDER RUNS SEED
"""

import hashlib
import importlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import atheris

from bench.fuzz import EACH_S, HARD_MIB
from denoiselab.runtime import files

COVERED = (
    "denoiselab",
    "PIL",
    "tifffile",
    "yaml",
    "zipfile",
    "tarfile",
    "csv",
    "json",
)  # packages instrumented for coverage
EVERY_S = 2.0  # interval between writes of the number of inputs

with atheris.instrument_imports(include=[*COVERED]):
    for _name in ("tifffile", "PIL.TiffImagePlugin", "PIL.PngImagePlugin"):  # imported lazily by other modules
        importlib.import_module(_name)
    targets, seeds = map(importlib.import_module, ("bench.fuzz.targets", "bench.fuzz.seeds"))


class Record:
    """Writes the number of inputs tried to `inputs.json`, and a folder for each finding."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "inputs.json"
        earlier = files.read_json(self.path) if self.path.exists() else {"inputs": 0}
        self.inputs, self.written = int(earlier["inputs"]), time.monotonic()

    def count(self) -> None:
        self.inputs += 1
        if time.monotonic() - self.written > EVERY_S:
            self.write()

    def write(self) -> None:
        files.write_json(self.path, {"inputs": self.inputs})
        self.written = time.monotonic()

    def add(self, data: bytes, error: BaseException) -> None:
        """Record a finding, once for each type of error and line of the project's code."""
        frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
        own = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "denoiselab" in f.filename] or ["outside"]
        name = hashlib.sha256(f"{type(error).__name__} {own[-1]}".encode()).hexdigest()[:12]
        place = self.folder / "findings" / name
        if not place.exists():
            place.mkdir(parents=True)
            (place / "input").write_bytes(data)
            text = "".join(traceback.format_exception(error))
            (place / "error.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def main(name: str, folder: Path, runs: int, seed: int) -> None:
    target, record = targets.TARGETS[name], Record(folder)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for n, data in enumerate(target.seeds()):
        (corpus / f"seed{n}").write_bytes(data)
    words = folder / "words.dict"
    words.write_text("".join(f'"{_escaped(part[:64])}"\n' for part in seeds.FRAGMENTS))
    with targets.scratch() as place:

        def run(data: bytes) -> None:
            record.count()
            try:
                with targets.emptied(place):
                    targets.check(target, data, place)
            except Exception as error:  # noqa: BLE001 - any exception is a finding
                record.add(data, error)
            if record.inputs >= runs:
                record.write()
                os._exit(0)  # otherwise libFuzzer sets the exit code

        limits = [f"-timeout={EACH_S}", f"-rss_limit_mb={HARD_MIB}", f"-malloc_limit_mb={HARD_MIB}", "-max_len=16384"]
        options = [f"-seed={seed}", f"-dict={words}", f"-artifact_prefix={folder}/hard-", "-close_fd_mask=3"]
        atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], run)
        atheris.Fuzz()


def _escaped(part: bytes) -> str:
    """Bytes in the syntax of libFuzzer's dictionaries."""
    return "".join(rf"\x{byte:02x}" for byte in part)


if __name__ == "__main__":
    _arguments: Any = sys.argv[1:]
    main(_arguments[0], Path(_arguments[1]).resolve(), int(_arguments[2]), int(_arguments[3]))
