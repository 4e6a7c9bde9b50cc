"""How long `dvc repro` takes where there is nothing to do, as the number of models grows.

python -m bench.repro [--models 2 10 50] [--rounds 5]
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bench._project import compose, copy, environment, scratch
from bench._show import Target, show, sizes

COMPARED = """\
`dvc repro` where all stages are up to date, the whole process, by the number of models: seconds, median of {rounds}.
Outputs are files of {bytes} bytes in the places of a run's, {files} in a folder: it is their number that DVC looks at.
`dvc root` is what DVC takes to start, without a look at any stage."""
DVC = Path(sys.executable).with_name("dvc")
FILES, BYTES = 20, 1000
MODELS, LIMIT_S = 10, 4.0


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, models=([2, 10, 50], [2]), rounds=(5, 1))
    rows = [_measured(models, args.rounds) for models in args.models]
    targets = [
        Target(f"`dvc repro` with {MODELS} models", row["`dvc repro` s"], LIMIT_S, "s")
        for row in rows
        if row["models"] == MODELS
    ]
    show("repro", COMPARED.format(rounds=args.rounds, files=FILES, bytes=BYTES), rows, targets)


def _measured(models: int, rounds: int) -> dict[str, Any]:
    with scratch() as folder:
        copy(folder)
        stages = _finish(folder, models)
        return {
            "models": models,
            "stages": stages,
            "`dvc repro` s": median(_repro() for _ in range(rounds)),
            "`dvc root` s": median(_timed("root")[0] for _ in range(rounds)),
        }


def _finish(folder: Path, models: int) -> int:
    """Make every stage look as if it had run; returns how many there are."""
    from dvc.repo import Repo

    tree = compose()
    blocks = islice(cycle(tree["models"].values()), models)
    tree["models"] = {f"m{n:02d}": block for n, block in enumerate(blocks)}
    Path("params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    with Repo(str(folder)) as repo:
        outs = [Path(out.fs_path) for out in repo.index.outs]
        stages = len(repo.index.stages)
    for path in outs:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in [path] if path.suffix else [path / f"{n}.bin" for n in range(FILES)]:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(str(file.relative_to(folder)).encode().ljust(BYTES))
    for command in ([str(DVC), "commit", "--force", "--quiet"], ["git", "add", "-A"]):
        subprocess.run(command, check=True, env=environment())
    _repro()  # what it does once
    return stages


def _repro() -> float:
    before = Path("dvc.lock").read_bytes()
    seconds, output = _timed("repro")
    assert "up to date" in output and "Running stage" not in output and Path("dvc.lock").read_bytes() == before, output
    return seconds


def _timed(*args: str) -> tuple[float, str]:
    """Seconds and output of a DVC command."""
    started = time.perf_counter()
    done = subprocess.run([str(DVC), *args], check=True, env=environment(), capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


if __name__ == "__main__":
    main()
