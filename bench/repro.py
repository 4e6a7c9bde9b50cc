"""Time of `dvc repro` when all stages are up to date, by number of models.

    python -m bench.repro [--models 2 10 50] [--rounds 3]

Stages are not run; placeholder outputs are committed to DVC instead.
"""

import sys
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bench._project import Process, compose, copy, run, scratch
from bench._show import Target, show, sizes

COMPARED = """\
`dvc repro` when all stages are up to date, by number of models: seconds and CPU seconds (hardly affected by other load)
of the whole process, median of {rounds}. Outputs are placeholder files of {bytes} bytes, {files} per folder, as DVC's
time depends on their number. `dvc root` is the start-up time of DVC, without looking at any stage."""
DVC = str(Path(sys.executable).with_name("dvc"))
FILES, BYTES = 20, 1000
MODELS, LIMIT_S = 10, 4.0


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, models=([2, 10, 50], [2]), rounds=(3, 1))
    rows = [_measured(models, args.rounds) for models in args.models]
    targets = [
        Target(f"`dvc repro` with {MODELS} models", row["s"], LIMIT_S, "s") for row in rows if row["models"] == MODELS
    ]
    show("repro", COMPARED.format(rounds=args.rounds, files=FILES, bytes=BYTES), rows, targets)


def _measured(models: int, rounds: int) -> dict[str, Any]:
    with scratch() as folder:
        copy(folder)
        stages = _finish(folder, models)
        found = [_repro() for _ in range(rounds)]
        return {
            "models": models,
            "stages": stages,
            "s": median(process.seconds for process in found),
            "CPU s": median(process.cpu_s for process in found),
            "`dvc root` s": median(run(DVC, "root").seconds for _ in range(rounds)),
        }


def _finish(folder: Path, models: int) -> int:
    """Write and commit placeholder outputs of every stage. Returns the number of stages."""
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
    run(DVC, "commit", "--force", "--quiet")
    run("git", "add", "-A")
    _repro()  # the first run updates DVC's caches
    return stages


def _repro() -> Process:
    before = Path("dvc.lock").read_bytes()
    done = run(DVC, "repro")
    nothing = "up to date" in done.output and "Running stage" not in done.output
    if not nothing or Path("dvc.lock").read_bytes() != before:
        raise RuntimeError(f"dvc repro is not up to date:\n{done.output}")
    return done


if __name__ == "__main__":
    main()
