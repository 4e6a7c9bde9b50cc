"""Time and memory of stage patchify, by number of images and threads.

python -m bench.patchify [--images 50 200 800]
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench._project import photographs, python, scratch
from bench._show import show, sizes
from denoiselab.config import Parallel, Patches
from denoiselab.data import manifest, patches
from denoiselab.imaging import dataset_images

COMPARED = """\
Cutting colour PNG photos of 481x321 pixels into the patches of the classic recipe (40x40, stride 40, scales 1, 0.8,
0.7, 0.5), with one thread and with one per core. Each row is a separate process: seconds of the cutting alone, and peak
memory with libraries (MiB), which should not grow with the number of images."""
CLASSIC = {"size": 40, "stride": 40, "val_size": 40, "scales": [1.0, 0.8, 0.7, 0.5], "shard_mib": 1024}
SHAPE, FILES = (321, 481), 100  # size, and number of different photos; they repeat if more are asked for


def main(argv: Sequence[str] | None = None) -> None:
    args = sizes(__doc__, argv, images=([50, 200, 800], [4]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with scratch() as folder:
        for n, pixels in enumerate(photographs(min(FILES, max(args.images)), SHAPE)):
            dataset_images.write_png(folder / f"{n:03d}.png", pixels)
        rows = [_row(number, jobs) for number in args.images for jobs in sorted({1, cores})]
    show("patchify", COMPARED, rows)


def cut(number: int, jobs: int) -> None:
    """Cut `number` images of the working directory with `jobs` threads; prints patches and seconds as JSON."""
    files = sorted(Path().glob("*.png"))
    folder, rows = Path(f"{number}-{jobs}"), []
    folder.mkdir()
    (folder / "images").symlink_to(Path.cwd())
    for n in range(number):
        path = files[n % len(files)]
        height, width = dataset_images.read(path, 3).shape[:2]
        known = {"image": str(n), "split": "train", "path": f"images/{path.name}", "width": width, "height": height}
        rows.append(manifest.Row(**dict.fromkeys(manifest.Row.__annotations__, "") | known))
    manifest.write(folder, rows)
    workers, started = Parallel(jobs=jobs, scheduler=None), time.perf_counter()
    counts = patches.cut(folder, Patches.model_validate(CLASSIC), 3, folder / "patches", workers)
    print(json.dumps({"patches": counts["train"], "s": time.perf_counter() - started}))


def _row(number: int, jobs: int) -> dict[str, Any]:
    done = python("-c", f"from bench.patchify import cut; cut({number}, {jobs})")
    found = json.loads(done.output.splitlines()[-1])
    rate = found["patches"] / found["s"]
    return {"images": number, "threads": jobs, **found, "patches/s": rate, "peak MiB": done.peak_mib}


if __name__ == "__main__":
    main()
